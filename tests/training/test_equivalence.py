"""With every weight of mixing and teaching at zero, a run is fairseq's own, bit for bit."""

import re

import inprocess
import pytest
import toy
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from same_end import assert_same
from toy import OFF, SIZE

FAIRSEQ = "sentence_prediction"
# the multiple: fairseq leaves the last batch of a split out, ours scores every valid example
UPDATES = [
    "--max-update", 20, "--max-epoch", 9, "--save-interval-updates", 10,
    "--required-batch-size-multiple", 1,
]  # fmt: skip


def assert_same_training_state(ours, theirs):
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        a, b = inprocess.checkpoint(ours, name), inprocess.checkpoint(theirs, name)
        assert a["optimizer_history"][-1]["num_updates"] > 0
        for part in ("model", "last_optimizer_state"):
            assert_same(a[part], b[part], part)


@pytest.fixture
def exact(monkeypatch):
    """Every loss, sample size and gradient norm of the process's updates, unrounded."""
    seen = []
    step, clip = FairseqTask.train_step, Trainer.clip_grad_norm

    def train_step(task, *args, **kwargs):
        result = step(task, *args, **kwargs)
        seen.append((result[0].item(), result[1]))
        return result

    def clip_grad_norm(trainer, *args, **kwargs):
        norm = clip(trainer, *args, **kwargs)
        seen.append(norm.item())
        return norm

    monkeypatch.setattr(FairseqTask, "train_step", train_step)
    monkeypatch.setattr(Trainer, "clip_grad_norm", clip_grad_norm)
    return seen


def run_both(ours, theirs, data, *extra, off=OFF):
    logs = {}
    for folder, task, flags in ((ours, "mixkd_sentence_prediction", off), (theirs, FAIRSEQ, SIZE)):
        logs[folder] = toy.fit(data, folder, *flags, *UPDATES, *extra, task=task)
    return logs[ours], logs[theirs]


def losses(log, kind):
    return re.findall(rf"\| {kind} \|.*?\bloss[ =]([\d.]+)", log)


def assert_equal_runs(tmp_path, exact, data, *extra, off=OFF):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    our_log, their_log = run_both(ours, theirs, data, *extra, off=off)
    assert len(exact) % 2 == 0 and len(exact) >= 2 * 2 * 20
    assert exact[: len(exact) // 2] == exact[len(exact) // 2 :]
    assert_same_training_state(ours, theirs)
    assert len(losses(our_log, "valid")) >= 2
    assert losses(our_log, "valid") == losses(their_log, "valid")


def test_classification(tmp_path, exact, classification):
    assert_equal_runs(tmp_path, exact, classification, "--update-freq", 2)


def test_classification_with_a_teacher_present(tmp_path, exact, classification, teacher):
    """Neither its loading nor its passes in validation may touch the student's randomness."""
    off = [*OFF, "--teacher-path", teacher]
    assert_equal_runs(tmp_path, exact, classification, off=off)


def test_regression(tmp_path, exact, regression):
    assert_equal_runs(tmp_path, exact, regression, "--num-classes", 1, "--regression-target")


def test_regression_of_two_targets_and_a_split_that_fairseq_cuts(tmp_path, exact):
    data = toy.make_data(tmp_path / "data", {"train": 45, "valid": 8}, targets=2)
    extra = ["--num-classes", 2, "--regression-target", "--required-batch-size-multiple", 8]
    assert_equal_runs(tmp_path, exact, data, *extra)


@pytest.mark.slow
def test_the_real_commands(tmp_path, classification):
    runs = [("ours", "mixkd_sentence_prediction", OFF), ("theirs", FAIRSEQ, SIZE)]
    logs = toy.run_together(
        *(
            (
                "fairseq_cli.train",
                *toy.train_flags(classification, tmp_path / name, *flags, *UPDATES, task=task),
            )
            for name, task, flags in runs
        )
    )
    assert_same_training_state(tmp_path / "ours", tmp_path / "theirs")
    for kind in ("train_inner", "valid"):
        ours, theirs = (losses(log, kind) for log in logs)
        assert ours == theirs and len(ours) >= 2
    norms = [re.findall(r"gnorm[ =]([\d.]+)", log) for log in logs]
    assert norms[0] == norms[1] and len(norms[0]) >= 20
