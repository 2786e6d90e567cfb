"""A step of training and of validation on a device that is not the CPU, without having one.

It takes the way that it takes on a GPU: jagged attention. A tensor that a step leaves on the CPU is
an error there, as on a GPU; so is a mix of types that it refuses. What makes the host wait for the
device is a list that only grows by intention.
"""

import json

import forked
import pytest
import toy
from torch.utils import backend_registration

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_DummyBackendModule"),
    reason="this torch cannot give tensors a second device",
)
ALL_TERMS = [
    "--kd-weight", 1, "--sm-weight", 1, "--tmkd-weight", 1, "--dropout", 0,
    "--attention-dropout", 0,
]  # fmt: skip
# the packed pass asks for its tokens' places, and for the lengths, which make its batches
PACKING = [["nonzero", "packing.pack"], ["tolist", "packing.pack"]]
HAS_PADDING = [  # fairseq's own pass asks, in training and in validation
    ["_local_scalar_dense", "encode.encode"],
    ["_local_scalar_dense", "mixkd_roberta.forward"],
]
CONFUSION = [["bincount", "scores.confusion_counts"]]

CASES = {  # flags, what is waited for, how much may differ
    "default": ([], PACKING, 1e-5),
    "half precision": (["--fp16"], PACKING, 1e-2),
    "fairseq's own pass": (["--padding-free", "off"], HAS_PADDING, 1e-5),
    "two mixes": (["--mixup-ratio", 2, "--distill-distance", "kl"], PACKING, 1e-5),
    "spliced": (["--mixup-kind", "splice"], PACKING, 1e-5),
    "two kinds": (["--mixup-kind", "span:interpolate", "--mixup-ratio", 2], PACKING, 1e-5),
    "all reports": (["--report-mcc", "--report-acc-and-f1"], [*CONFUSION, *PACKING], 1e-5),
    "dropout": (
        ["--dropout", 0.1, "--attention-dropout", 0.1],
        PACKING,
        float("inf"),
    ),  # draws are another device's
    "regression": (["--num-classes", 1, "--regression-target"], PACKING, 1e-5),
}


@pytest.fixture(scope="module")
def steps(tmp_path_factory, classification, teacher, regression, regression_teacher):
    """What each case gave; in one process, which the device does not leave."""
    folder = tmp_path_factory.mktemp("second_device")
    cases, record = folder / "cases.json", folder / "record.json"
    flags_of = {}
    for name, (flags, _, _) in CASES.items():
        values = "--regression-target" in flags
        data, path = (regression, regression_teacher) if values else (classification, teacher)
        flags = [*ALL_TERMS, "--teacher-path", path, *flags]
        flags_of[name] = [str(flag) for flag in toy.train_flags(data, folder / "none", *flags)]
    cases.write_text(json.dumps(flags_of))
    ((code, log),) = forked.run(("second_device_step", cases, record))
    assert code == 0, log[-4000:]
    return json.loads(record.read_text())


@pytest.mark.parametrize("case", CASES)
def test_a_step_stays_on_its_device_and_waits_only_where_it_says(steps, case):
    _, waits, tolerance = CASES[case]
    assert steps[case]["on_device"]
    assert steps[case]["waits"] == waits
    assert steps[case]["difference"] < tolerance


def test_a_tensor_left_on_the_cpu_is_an_error():
    ((code, log),) = forked.run(("second_device_refuses",))
    assert code == 0, log[-4000:]
