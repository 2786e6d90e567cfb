"""examples/extend: a user directory of one's own, end to end by the real command line."""

import json
import math
import re
from typing import NamedTuple

import inprocess
import numpy as np
import pytest
import toy
from extending import MINE, import_theirs, validated
from recorded_train import by_epoch, rows_of
from refusals import KD, assert_matches, refusal
from same_end import assert_same_weights
from scores import predictions
from toy import PLUGIN

from mixkd_plugin.data.mixup_plan import Examples, draw_plan

THEIRS = [
    "--user-dir", MINE, "--distill-distance", "cosine", "--mixup-pairing", "other-label",
    "--kd-weight", 1, "--mixup-ratio", 2,
]  # fmt: skip
CNN = ["--arch", "my_cnn", "--cnn-embed-dim", 16, "--cnn-channels", 8]


class Student(NamedTuple):
    folder: object
    log: str
    mixes: list  # (epoch, [[id, partner's id, lam], ...])


@pytest.fixture(scope="module")
def student(tmp_path_factory, classification, teacher):
    """Their encoder, distance and pairing rule, by `fairseq-train` with two loader workers."""
    folder = tmp_path_factory.mktemp("extend")
    flags = [*THEIRS, *CNN, "--teacher-path", teacher, "--num-workers", 2]
    flags = toy.train_flags(classification, folder / "student", *flags)
    log = toy.run_module("recorded_train", folder / "mixes", *flags).stdout
    mixes = [json.loads(line) for line in (folder / "mixes").read_text().splitlines()]
    return Student(folder / "student", log, mixes)


@pytest.fixture(scope="module")
def theirs():
    """Their package in this process, as --user-dir imports it."""
    import_theirs()


def test_the_logged_distance_is_theirs(student, theirs, classification, teacher):
    paths = student.folder / "checkpoint_last.pt", teacher
    ours, others = (predictions(path, classification).astype(float) for path in paths)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(others, axis=1)
    cosines = 1 - (ours * others).sum(axis=1) / norms
    squares = ((ours - others) ** 2).sum(axis=1) / 2
    logged = toy.last_values(student.log, "valid")["kd_loss"] * math.log(2)
    assert logged == pytest.approx(np.mean(cosines), abs=1e-3)
    assert abs(logged - np.mean(squares)) > 0.01


def test_their_rule_mixed_the_rows(student, theirs, classification):
    labels = (classification / "raw" / "train.label").read_text().split()
    zeros, n, epochs = np.zeros(len(labels)), len(labels), by_epoch(student.mixes)
    assert sorted(epochs) == [1, 2]
    for epoch, mixes in epochs.items():
        assert len(mixes) == 2 * n and all(labels[i] != labels[j] for i, j, _ in mixes)
        # the loader workers drew what anyone draws
        examples = Examples(np.arange(n), zeros, np.array(labels, dtype=int))
        assert mixes == rows_of(draw_plan(examples, 2, 0.4, "other-label", seed=1, epoch=epoch))
    assert {m[:2] for m in epochs[1]} != {m[:2] for m in epochs[2]}


def test_their_student_validates_alone(student, classification):
    alone = toy.last_values(validated(classification, student.folder), "valid")
    trained = toy.last_values(student.log, "valid")
    for key in ("mle_loss", "accuracy"):
        assert alone[key] == pytest.approx(trained[key], abs=2e-3)


def test_a_student_of_ours_needs_their_package_in_training_alone(tmp_path, classification, teacher):
    flags = [*THEIRS, "--teacher-path", teacher, "--max-epoch", 1]
    log = toy.fit(classification, tmp_path, *flags)
    alone = toy.last_values(validated(classification, tmp_path, PLUGIN), "valid")
    assert alone["accuracy"] == toy.last_values(log, "valid")["accuracy"]


@pytest.mark.parametrize("backend", ["pytorch_ddp", "legacy_ddp"])
@pytest.mark.slow
def test_two_processes_give_the_parameters_of_one(tmp_path, classification, teacher, backend):
    def flags(folder, update_freq):
        return toy.train_flags(
            classification, tmp_path / folder, *THEIRS, *CNN, "--teacher-path", teacher,
            "--cnn-dropout", 0, "--batch-size", 8, "--update-freq", update_freq,
            "--max-update", 12, "--adam-eps", 1e-5,
        )  # fmt: skip

    inprocess.run_training(flags("one", 2))
    toy.processes(2, "fairseq_cli.train", flags("two", 1), backend=backend)
    assert inprocess.updates(tmp_path / "two") == 12
    assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-6)


# --- as a teacher ---


def test_their_encoder_teaches_ours(tmp_path, classification, student, theirs):
    path = student.folder / "checkpoint_last.pt"
    flags = ["--kd-weight", 1, "--teacher-path", path, "--max-epoch", 1]
    log = toy.fit(classification, tmp_path, *flags)
    taught = toy.last_values(log, "valid")
    assert taught["teacher_accuracy"] == toy.last_values(student.log, "valid")["accuracy"]
    assert "tmkd_loss" in toy.last_values(log, "train")


def test_their_teacher_is_checked(tmp_path, student, theirs):
    data = toy.make_data(
        tmp_path / "data", {"train": 24, "valid": 8}, words=[*toy.WORDS, "new"]
    )  # fmt: skip
    flags = [*KD, "--teacher-path", student.folder / "checkpoint_last.pt"]
    assert_matches("vocabulary has 45 types, .* has 46", refusal(data, tmp_path / "s", *flags))


# --- what cannot be meant ---


@pytest.mark.parametrize(
    "flags, message",
    [
        ([*THEIRS, "--distill-distance", "cosinus"],
         "--distill-distance must be one of mse, kl, ce, cosine, got cosinus$"),
        ([*THEIRS, "--mixup-pairing", "other"],
         "--mixup-pairing must be one of random, length, other-label, got other$"),
        ([*THEIRS, "--distill-temperature", 2],
         "--distill-temperature must be 1 with --distill-distance cosine, .*, got 2.0"),
    ],
)  # fmt: skip
def test_flags(tmp_path, classification, teacher, flags, message):
    flags = [*flags, "--teacher-path", teacher]
    assert_matches(message, refusal(classification, tmp_path, *flags))


def test_regression_has_neither(tmp_path, regression, regression_teacher):
    common = ["--num-classes", 1, "--regression-target", "--user-dir", MINE]
    common += ["--teacher-path", regression_teacher]
    error = refusal(regression, tmp_path, *common, "--distill-distance", "cosine")
    assert_matches("--distill-distance must be mse with --regression-target, got cosine", error)
    # said by the main process, in one sentence, though loader workers would draw as well
    flags = [*common, "--mixup-pairing", "other-label", "--num-workers", 1]
    error = refusal(regression, tmp_path, *flags)
    assert_matches("--mixup-pairing other-label must .* 101 training examples", error)


@pytest.mark.slow
def test_the_example_runs(tmp_path, venv):
    _, said = toy.run_script(venv, "extend/run.sh", tmp_path)
    teacher, student = (float(value) for value in re.findall(r"accuracy ([\d.]+)", said))
    assert teacher > 75 and student > 65
