"""The teacher's score before the first update: right, shown once, no part of training."""

import itertools
import re

import inprocess
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import toy
from refusals import KD
from same_end import assert_same_weights
from scores import predictions, raw_targets
from taught import totals
from toy import FINE_TUNE, HEAD
from unlabelled import ALLOW, without

from mixkd_plugin.tasks import mixkd_sentence_prediction
from mixkd_plugin.teacher import score

LINE = r"teacher_(\w+) (\S+) on (\d+(?: of the \d+)?) examples of .+ \(best constant answer: (.+)\)"
NO_LABELS = ["--mle-weight", 0, "--sm-weight", 0]


def run(data, folder, teacher, *flags):
    flags = [*KD, "--teacher-path", teacher, "--max-epoch", 1, *flags]
    return toy.fit(data, folder, *flags)


def lines(log):
    return re.findall(LINE, log)


def test_it_is_that_of_the_first_validation(tmp_path, classification, teacher):
    log = run(classification, tmp_path, teacher)
    ((metric, value, examples, largest),) = lines(log)
    assert (metric, examples) == ("accuracy", "37")
    assert float(value) == toy.last_values(log, "valid")["teacher_accuracy"]
    labels = (classification / "raw" / "valid.label").read_text().split()
    share = 100 * max(map(labels.count, labels)) / len(labels)
    assert float(largest) == pytest.approx(share, abs=0.051)
    assert log.index("on 37 examples") < log.index("train_inner")
    assert ("must have accuracy" in log) == (float(value) < share + 5)
    log = run(classification, tmp_path, teacher, "--max-epoch", 2)  # it resumes
    assert lines(log) == [] and toy.last_values(log, "valid")["num_updates"] == 14


def test_a_regressions_is_the_correlation(tmp_path, regression, regression_teacher):
    log = run(
        regression, tmp_path, regression_teacher, "--regression-target", "--num-classes", 1,
        "--no-save",
    )  # fmt: skip
    ((metric, value, examples, largest),) = lines(log)
    values = predictions(regression_teacher, regression)[:, 0], raw_targets(regression)[:, 0]
    wanted = 100 * scipy.stats.pearsonr(*values)[0]
    assert (metric, examples, largest) == ("pearson", "37", "0.0")
    assert float(value) == pytest.approx(wanted, abs=0.051)


@pytest.mark.parametrize("scale, shift, weak", [(1, 0, False), (0.2, 0, True), (5, 0, True),
                                                (1, 0.5, False), (1, 9, True)])  # fmt: skip
def test_a_regression_on_another_scale(scale, shift, weak):
    generator = torch.Generator().manual_seed(1)
    targets = 5 * torch.rand(200, 2, generator=generator)
    logits = targets + torch.randn(200, 2, generator=generator)
    found = score.score_of(scale * logits + shift, targets, regression=True, multi_label=False)
    theirs = sklearn.metrics.r2_score(targets.numpy(), (scale * logits + shift).numpy())
    assert found.r2 == pytest.approx(100 * theirs, rel=1e-4) and found.value > 75
    reason = score.weakness(found, "split", "--labels", "--length")
    assert bool(reason) == weak and (not weak or "scale" in reason)


def test_several_labels_are_scored_by_f1():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(50, 3, generator=generator)
    targets = (torch.rand(50, 3, generator=generator) < torch.tensor([0.2, 0.7, 0.4])).double()
    found = score.score_of(logits, targets, regression=False, multi_label=True)
    answers = [np.tile(answer, (50, 1)) for answer in itertools.product((0, 1), repeat=3)]
    f1 = [
        100 * sklearn.metrics.f1_score(targets.numpy(), answer, average="micro", zero_division=0)
        for answer in [logits > 0, *answers]
    ]
    assert found.value == pytest.approx(f1[0]) and found.constant == pytest.approx(max(f1[1:]))


def test_examples_without_a_label_are_left_out(tmp_path, teacher):
    data = toy.make_data(tmp_path / "data", {"train": 31, "valid": 9})
    hidden = {0, *range(1, 31, 2)}
    gold = (data / "raw" / "train.label").read_text().split()
    without(data, False, hidden)
    flags = [*ALLOW, "--valid-subset", "train", "--max-update", 1, "--no-save"]
    (found,) = lines(run(data, tmp_path / "some", teacher, *flags))
    classes = predictions(teacher, data, "train").argmax(1)
    right = [int(gold[i]) == classes[i] for i in range(31) if i not in hidden]
    assert float(found[1]) == pytest.approx(100 * np.mean(right), abs=0.051)
    without(data, False, set(range(31)))
    assert not lines(run(data, tmp_path / "none", teacher, *flags, *NO_LABELS))


def swapped(teacher, path):
    with toy.edited(teacher, path) as state:
        for name in ("weight", "bias"):
            values = state["model"][f"classification_heads.{HEAD}.out_proj.{name}"]
            values.copy_(values.flip(0))
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory, classification):
    """A teacher that is much better than the largest class, on what it has learned."""
    folder = tmp_path_factory.mktemp("good")
    flags = [*FINE_TUNE, "--lr", 0.003, "--max-epoch", 16]
    flags = toy.train_flags(classification, folder, *flags)
    inprocess.run_training([*flags, "--validate-interval", 16])
    return folder / "checkpoint_last.pt"


def test_a_weak_teacher_is_warned_of(tmp_path, classification, good):
    flags = ["--no-save", "--valid-subset", "train"]
    assert "must have accuracy" not in run(classification, tmp_path, good, *flags)
    log = run(classification, tmp_path, swapped(good, tmp_path / "swapped.pt"), *flags)
    (warning,) = (line for line in log.splitlines() if line.startswith("WARNING | mixkd"))
    ((_, value, _, _),) = lines(log)
    for part in ("--teacher-path must have accuracy of at least", value, "--teacher-labels"):
        assert part in warning
    for value, constant, weak in ((55.0, 50.0, False), (54.9, 50.0, True), (98.1, 96.0, False),
                                  (97.9, 96.0, True), (100.0, 100.0, False)):  # fmt: skip
        assert bool(score.weakness(score.Score("accuracy", value, constant), "", "", "")) == weak
    assert score.weakness(score.Score("pearson", float("nan"), 0.0), "", "", "")


@pytest.mark.parametrize("flags", [[], ["--tmkd-weight", 1, "--mixup-period", 1]], ids=str)
def test_training_is_not_changed(tmp_path, monkeypatch, classification, teacher, flags):
    flags = ["--mixup-ratio", 1, "--dropout", 0.1, *flags]
    run(classification, tmp_path / "with", teacher, *flags)
    monkeypatch.setattr(mixkd_sentence_prediction, "log_score", lambda *_: None)
    assert lines(run(classification, tmp_path / "without", teacher, *flags)) == []
    assert_same_weights(tmp_path / "with", tmp_path / "without")


def test_of_a_large_split_some_are_scored(tmp_path, monkeypatch, classification, good, asked):
    monkeypatch.setattr(score, "EXAMPLES", 10)
    flags = ["--teacher-cache", tmp_path / "cache", "--no-save"]
    log = run(classification, tmp_path, good, *flags)
    ((_, value, examples, _),) = lines(log)
    assert examples == "10 of the 37" and totals(asked) == (101 + 37 + 10, 0)
    labels = (classification / "raw" / "valid.label").read_text().split()
    places = [37 * i // 10 for i in range(10)]
    classes = predictions(good, classification).argmax(1)
    right = np.mean([str(classes[i]) == labels[i] for i in places])
    assert float(value) == pytest.approx(100 * right, abs=0.051)
    asked.clear()
    assert lines(run(classification, tmp_path, good, *flags)) == lines(log) and not asked


def test_without_validation_nothing_is_computed(tmp_path, classification, teacher, asked):
    log = run(classification, tmp_path, teacher, "--disable-validation", "--no-save")
    assert lines(log) == [] and totals(asked) == (101, 0)


def test_two_processes_show_it_once(tmp_path, classification, good):
    path = swapped(good, tmp_path / "swapped.pt")
    flags = [*KD, "--teacher-path", path, "--max-epoch", 1, "--no-save"]
    logs = toy.processes(2, "fairseq_cli.train", toy.train_flags(classification, tmp_path, *flags))
    assert [len(lines(log)) for log in logs] == [1, 0]
    assert ["must have accuracy" in log for log in logs] == [True, False]
