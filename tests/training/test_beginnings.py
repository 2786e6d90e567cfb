"""What a run begins from fits it, or is refused before training with the flag and the value."""

import shutil

import inprocess
import pytest
import torch
import toy
from refusals import FINE_TUNE, refusal

from mixkd_plugin.checkpoints import recovery


@pytest.fixture(scope="module")
def run(tmp_path_factory, classification):
    folder = tmp_path_factory.mktemp("run")
    flags = toy.train_flags(classification, folder, *FINE_TUNE, "--max-update", 3)
    inprocess.run_training(flags)
    return folder


@pytest.fixture
def folder(tmp_path, run):
    return toy.copy_data(run, tmp_path / "run")


BEGINNINGS = ["--restore-file", "--continue-once", "--finetune-from-model"]


@pytest.mark.parametrize("flag", BEGINNINGS)
def test_a_file_that_is_not_there(tmp_path, classification, flag):
    """fairseq trains from the beginning."""
    text = refusal(classification, tmp_path, *FINE_TUNE, flag, tmp_path / "typo.pt")
    assert text.startswith(f"{flag} must be a checkpoint, got {tmp_path / 'typo.pt'}, which does")


@pytest.mark.parametrize("flag", BEGINNINGS)
def test_two_beginnings(tmp_path, run, classification, flag):
    """The second is silently the one."""
    last = run / "checkpoint_last.pt"
    flags = [*FINE_TUNE, "--student-init-path", last, flag, last]
    text = refusal(classification, tmp_path, *flags)
    assert text.startswith(f"--student-init-path {last} must be given without {flag}")


@pytest.mark.parametrize(
    "flags, there, here",
    [
        (["--optimizer", "sgd"], "--optimizer is adam", "sgd"),
        (["--lr-scheduler", "reduce_lr_on_plateau"], "--lr-scheduler is fixed", "reduce_lr_on"),
        (["--encoder-embed-dim", 64], "--encoder-embed-dim is 32", "64"),
        (["--encoder-layers", 3], "--encoder-layers is 2", "3"),
        (["--bf16"], "--bf16 is False", "True"),
    ],
)
def test_other_flags_than_the_checkpoints(folder, classification, flags, there, here):
    text = refusal(classification, folder, *FINE_TUNE, *flags)
    assert text.startswith(f"--save-dir: {folder / 'checkpoint_last.pt'} does not fit this run")
    assert f"{there} there and {here}" in text
    reset = ["--reset-optimizer", "--reset-lr-scheduler"]
    if "encoder" not in there:
        with pytest.raises(inprocess.ReachedFirstUpdateError):
            inprocess.start_training(
                toy.train_flags(classification, folder, *FINE_TUNE, *flags, *reset)
            )


def turned(data, target, name):
    """The same data but for the order of two symbols."""
    toy.copy_data(data, target)
    path = target / name / "dict.txt"
    first, second, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([second, first, *others]))
    return target


def test_resuming_on_other_labels(tmp_path, folder, classification):
    data = turned(classification, tmp_path / "data", "label")
    last = folder / "checkpoint_last.pt"
    text = refusal(data, folder, *FINE_TUNE)
    assert text.startswith(f"--save-dir: {last} was trained with the labels 0, 1, the data")
    assert "has 1, 0:" in text
    text = refusal(data, tmp_path / "other", *FINE_TUNE, "--restore-file", last)
    assert text.startswith(f"--restore-file: {last} was trained with the labels 0, 1")


@pytest.mark.parametrize("flag", ["--save-dir", "--restore-file", "--finetune-from-model"])
def test_another_vocabulary(tmp_path, folder, classification, flag):
    data = turned(classification, tmp_path / "data", "input0")
    last = folder / "checkpoint_last.pt"
    if flag == "--save-dir":
        text = refusal(data, folder, *FINE_TUNE)
    else:
        text = refusal(data, tmp_path / "other", *FINE_TUNE, flag, last)
    assert text.startswith(f"{flag}: {last} was trained on another vocabulary")


@pytest.mark.parametrize(
    "flags",
    [["--finetune-from-model"], ["--reset-optimizer", "--reset-dataloader", "--restore-file"]],
    ids=["finetune", "reset"],
)
def test_a_new_run_may_have_other_labels(tmp_path, run, classification, flags):
    data = turned(classification, tmp_path / "data", "label")
    flags = [*FINE_TUNE, *flags, run / "checkpoint_last.pt", "--max-update", 4]
    log = inprocess.run_training(toy.train_flags(data, tmp_path / "new", *flags))
    (warning,) = [line for line in log.splitlines() if line.startswith("WARNING | mixkd")]
    assert "was trained with the labels 0, 1, the data folder has 1, 0" in warning


def test_regression_is_no_classification(tmp_path, folder, regression):
    flags = [*FINE_TUNE, "--regression-target", "--num-classes", 1]
    assert "the labels 0, 1, the data folder has of a reg" in refusal(regression, folder, *flags)


@pytest.mark.parametrize("place", ["directory", "local"])
def test_any_bit_of_the_zips_headers(folder, classification, place):
    """Method, version, flags, sizes: zipfile has an error of its own for each."""
    path = folder / "checkpoint_last.pt"
    good = path.read_bytes()
    at = good.rfind(b"PK\x01\x02") if place == "directory" else good.rfind(b"PK\x03\x04")
    origin = recovery.find(str(folder), recovery.DEFAULT)
    shutil.copy(path, folder / "checkpoint1.pt")
    for byte in range(at + 4, at + 30):
        for bit in (0, 3, 6):
            content = bytearray(good)
            content[byte] ^= 1 << bit
            path.write_bytes(content)
            found = recovery.find(str(folder), recovery.DEFAULT)
            assert found == origin
            path.write_bytes(good)


@pytest.mark.parametrize("flag", ["--restore-file", "--finetune-from-model"])
def test_a_file_with_arguments_alone(tmp_path, run, classification, flag):
    """As fairseq wrote before 0.11, and import_hf does; its epsilon comes with its weights."""
    state = inprocess.checkpoint(run)
    state["args"], state["cfg"] = state["cfg"]["model"], None
    state["args"].layer_norm_eps = 1e-12
    torch.save(state, tmp_path / "old.pt")
    flags = [*FINE_TUNE, "--max-update", 1, flag, tmp_path / "old.pt"]
    if flag == "--restore-file":
        flags += ["--reset-optimizer", "--reset-dataloader", "--reset-meters"]
        flags += ["--reset-lr-scheduler"]
    inprocess.run_training(toy.train_flags(classification, tmp_path / "new", *flags))
    assert inprocess.checkpoint(tmp_path / "new")["cfg"]["model"].layer_norm_eps == 1e-12
