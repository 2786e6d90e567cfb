"""A student and a teacher that version 0.1.0 of this package made are of use to later ones.

tests/data/before: two epochs of KD on a toy task, the weights that a third one gave then, and the
teacher logits of a first epoch, kept before the modules moved into packages.
"""

import shutil
from pathlib import Path

import inprocess
import pytest
import torch
import toy

from mixkd_plugin.modules import packed_attention, packed_encoder

BEFORE = Path(__file__).resolve().parents[1] / "data" / "before"
SIZES = [
    "--encoder-embed-dim", 8, "--encoder-ffn-embed-dim", 8, "--encoder-attention-heads", 2,
    "--max-positions", 16, "--seed", 3,
]  # fmt: skip


@pytest.fixture
def flags(tmp_path):
    """The flags of that run, with a folder of its own."""
    flags = toy.train_flags(BEFORE / "data", tmp_path / "student", "--kd-weight", 1, *SIZES)
    return [*flags, "--teacher-path", BEFORE / "teacher.pt", "--max-epoch", 3]


def test_a_run_goes_on_to_the_same_weights(tmp_path, monkeypatch, flags):
    """With torch's dropout, which that version had."""
    monkeypatch.setattr(packed_encoder, "apply_dropout", lambda module, x: module(x))
    monkeypatch.setattr(packed_attention, "dropout", torch.nn.functional.dropout)
    (tmp_path / "student").mkdir()
    shutil.copy(BEFORE / "student.pt", tmp_path / "student" / "checkpoint_last.pt")
    log = inprocess.run_training(flags)
    assert "Loaded checkpoint" in log
    done = inprocess.checkpoint(tmp_path / "student")["model"]
    then = torch.load(BEFORE / "student_after_3_epochs.pt", weights_only=True)
    assert list(done) == list(then)
    if not torch.__version__.startswith("2.13."):
        pytest.skip("dropout draws other numbers in another torch than the one that made the files")
    torch.testing.assert_close(done, then)


def test_a_student_teaches_and_begins_another(tmp_path, flags):
    flags[flags.index("--teacher-path") + 1] = BEFORE / "student.pt"
    log = inprocess.run_training([*flags, "--student-init-path", BEFORE / "student.pt"])
    assert "student initialised from layers [0, 1]" in log


def test_kept_teacher_logits_are_found(tmp_path):
    """Of the clean examples of both splits and of the first epoch's mixes; none is computed."""
    shutil.copytree(BEFORE / "cache", tmp_path / "cache")
    flags = ["--teacher-cache", tmp_path / "cache", "--kd-weight", 1, *SIZES, "--max-epoch", 1]
    flags += ["--teacher-path", BEFORE / "teacher.pt"]
    log = toy.train(BEFORE / "data", tmp_path / "student", *flags).stdout
    assert log.count(f"from {tmp_path / 'cache'}") == 3 and "computing teacher logits" not in log
