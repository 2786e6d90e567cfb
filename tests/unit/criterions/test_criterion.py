"""The formula, against the same terms computed one pass at a time."""

import pytest
import torch
import torch.nn.functional as F
from criterion_run import CLASSES, WEIGHTS, Run, weight_flags
from fairseq.logging import metrics
from toy import make_data


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("criterion")
    sizes = {"train": 40, "valid": 20}
    return {
        False: make_data(root / "classes", sizes, labels=("0", "1", "2")),
        True: make_data(root / "values", sizes, targets=CLASSES),
    }


@pytest.mark.parametrize(
    "ratio, kind", [(1, "splice"), (3, "interpolate"), (3, "interpolate:span")]
)
@pytest.mark.parametrize("regression, distance", [(False, "mse"), (False, "kl"), (True, "mse")])
def test_loss_is_the_weighted_sum_of_the_four_terms(folders, regression, distance, ratio, kind):
    temperature = 2.0 if distance == "kl" else 1.0
    run = Run(
        folders[regression], regression, *weight_flags(WEIGHTS), "--mixup-ratio", ratio,
        "--distill-distance", distance, "--distill-temperature", temperature, "--mixup-kind", kind,
    )  # fmt: skip
    sample_size, _ = run.assert_loss(run.terms(regression, distance, temperature))
    assert sample_size == (8 * CLASSES if regression else 8)


@pytest.mark.parametrize("regression", [False, True])
def test_the_teachers_terms_use_no_label(folders, regression):
    run = Run(folders[regression], regression, *weight_flags((0, 1, 0, 1)))
    before = run.loss()[0]
    target = run.sample["target"]
    run.sample["target"] = (target + 1) if regression else (target + 1) % CLASSES
    assert torch.equal(run.loss()[0], before)


def test_a_term_of_ones_own_may_be_a_number(folders, monkeypatch):
    run = Run(folders[False], False, *weight_flags(WEIGHTS))
    before = run.loss()[0]
    monkeypatch.setattr(run.criterion, "extra_terms", lambda *_: {"mine": 0.0})
    loss, _, logged = run.loss()
    assert loss == before and torch.equal(logged["mine_loss"], torch.tensor(0.0))


def test_a_term_of_ones_own_has_a_name_of_its_own(folders, monkeypatch):
    """Else its value was logged as ours."""
    run = Run(folders[False], False, *weight_flags(WEIGHTS))
    monkeypatch.setattr(run.criterion, "extra_terms", lambda *_: {"kd": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="extra_terms must name others than mle, kd, .* got kd"):
        run.loss()


def test_rows_that_no_term_needs_are_not_computed(folders):
    run = Run(folders[False], False, *weight_flags((0, 0, 0, 1)))
    seen = []
    for name, model in (("student", run.student), ("teacher", run.teacher_model)):

        def note(_module, _inputs, out, name=name):
            seen.append((name, (out[0] if isinstance(out, tuple) else out).size(1)))

        model.encoder.sentence_encoder.layers[0].register_forward_hook(note)
    run.loss()
    assert sorted(seen) == [("student", 8), ("teacher", 8)]  # mixed rows alone, one pass each
    del seen[:]
    run.weigh(mle=1.0, kd=1.0)
    run.loss()
    assert sorted(seen) == [("student", 16), ("teacher", 16)]
    del seen[:]
    run.weigh(kd=0.0, tmkd=0.0, sm=0.0)
    run.loss()
    assert seen == [("student", 8)]


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("regression", [False, True])
def test_what_is_computed_for_zero_is_a_small_batch(folders, regression, split):
    """A rank without a batch of its own logs what the others do."""
    run = Run(folders[regression], regression, *weight_flags(WEIGHTS), "--mixup-ratio", 3)
    if split == "valid":
        run.task.load_dataset("valid", combine=False)
    dataset = run.task.dataset(split)
    sample = dataset.collater([dataset[i] for i in range(2)])
    rows = []
    run.student.register_forward_hook(lambda _m, _i, out: rows.append(len(out[0])))
    loss, sample_size, ours = run.step(sample, ignore_grad=True)
    assert rows == [4 if split == "valid" else 8]  # clean and mixed
    assert loss == sample_size == 0
    assert all(p.grad is None or not p.grad.any() for p in run.student.parameters())
    theirs = run.step(run.sample)[2]
    assert ours.keys() == theirs.keys() and len(ours) >= 8
    for name, value in ours.items():
        assert type(value) is type(theirs[name]) and not (value + value), name


class Remote(torch.Tensor):
    """As on a device: ``waits`` says what had to wait until all was computed there."""

    waits = []

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        if function.__name__ not in ("cpu", "tolist", "item", "__bool__", "__float__", "__int__"):
            return result
        cls.waits.append(function.__name__)
        return result.as_subclass(torch.Tensor) if torch.is_tensor(result) else result


def test_logged_values_are_waited_for_once(folders):
    run = Run(folders[False], False, *weight_flags(WEIGHTS), "--report-mcc", "--report-acc-and-f1")

    def logged(outputs):
        with metrics.aggregate(new_root=True) as meters:
            run.task.reduce_metrics(outputs, run.criterion)
            values = meters.get_smoothed_values()
            values.pop("wps")
            return values

    outputs = [run.loss()[2] for _ in range(2)]
    expected = logged(outputs)
    remote = [
        {name: v.as_subclass(Remote) if torch.is_tensor(v) else v for name, v in output.items()}
        for output in outputs
    ]
    assert logged(remote) == expected and len(expected) > 10
    assert Remote.waits == ["cpu"]


def test_in_evaluation_the_loss_is_that_of_the_labels_whatever_the_weights(folders):
    run = Run(folders[False], False, *weight_flags((0, 0, 0, 1)))
    run.student.eval()
    sample, _ = run.task.teacher.add_to(run.sample, clean=True, mixed=False)
    loss, _, output = run.criterion(run.student, sample)
    expected = F.cross_entropy(
        run.logits(run.student), run.sample["target"].view(-1), reduction="sum"
    )
    torch.testing.assert_close(loss, expected)
    assert "tmkd_loss" not in output and "kd_loss" in output
    assert torch.equal(run.criterion(run.student, run.sample)[0], loss)
