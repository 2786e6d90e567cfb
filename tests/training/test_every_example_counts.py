"""Metrics are over every example, and right; splits and lines of any size give a result."""

import inprocess
import numpy as np
import pytest
import sklearn.metrics
import torch
import toy
from scores import (
    CORRELATIONS,
    LEARN,
    MIXUP,
    REPORT,
    TEXTS,
    assert_logged,
    classification_scores,
    predictions,
    raw_labels,
    raw_targets,
    regression_scores,
)
from slow_cases import slow
from toy import FINE_TUNE

from mixkd_plugin.criterions.mixkd import MixKDCriterion


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Data of a few training examples and so many for validation."""
    made = {}

    def make(n, **settings):
        key = n, tuple(settings.items())
        if key not in made:
            folder = tmp_path_factory.mktemp(f"split{n}") / "data"
            made[key] = toy.make_data(folder, {"train": 120, "valid": n}, **settings)
        return made[key]

    return make


@pytest.fixture(scope="module")
def trained(tmp_path_factory, splits):
    """A student of three text classes; dictionaries of all `splits` are the same."""
    folder = tmp_path_factory.mktemp("three")
    flags = [*FINE_TUNE, "--num-classes", 3, *REPORT, *LEARN]
    log = toy.fit(splits(101, labels=TEXTS), folder, *flags)
    return folder / "checkpoint_last.pt", log


@pytest.fixture
def counted(monkeypatch):
    """How many examples each reduction of logged values was over."""
    counts = []
    original = MixKDCriterion.reduce_metrics

    def reduce_metrics(logging_outputs):
        counts.append(int(sum(o["nsentences"] for o in logging_outputs)))
        return original(logging_outputs)

    monkeypatch.setattr(MixKDCriterion, "reduce_metrics", staticmethod(reduce_metrics))
    return counts


def validate(data, checkpoint, *flags):
    return inprocess.validate(*toy.validate_flags(data, checkpoint, *flags))


@pytest.mark.parametrize(
    "n, limits",
    [
        (1, ["--max-tokens", 70]),
        (101, ["--batch-size", 7, "--required-batch-size-multiple", 8]),
        *slow(
            (1, ["--batch-size", 16]),
            (101, ["--batch-size", 1000]),
            (300, ["--batch-size", 16]),
            (300, ["--max-tokens", 70, "--batch-size", 3, "--required-batch-size-multiple", 4]),
        ),
    ],
)
def test_classification_over_all_n(splits, trained, counted, n, limits):
    data = splits(n, labels=TEXTS)
    log = validate(data, trained[0], *limits)
    assert sum(counted) == n
    assert_logged(log, classification_scores(data, TEXTS, trained[0]))


def test_figures_of_training_are_those_of_the_last_checkpoint(splits, trained):
    checkpoint, log = trained
    assert_logged(log, classification_scores(splits(101, labels=TEXTS), TEXTS, checkpoint))


@pytest.mark.parametrize("names", [("1", "0"), *slow((("0", "1"),))])
def test_f1_of_two_classes_is_of_the_one_named_1(tmp_path, splits, names):
    data = splits(60, labels=names)
    log = toy.fit(data, tmp_path, *FINE_TUNE, *REPORT, *LEARN)
    assert_logged(log, classification_scores(data, names, tmp_path / "checkpoint_last.pt"))


@pytest.mark.parametrize("n, targets", [(101, 3), *slow((300, 1))])
def test_regression_over_all_n(tmp_path, splits, counted, n, targets):
    data = splits(n, targets=targets)
    flags = ["--num-classes", targets, "--regression-target", *FINE_TUNE, *CORRELATIONS]
    log = toy.fit(data, tmp_path, *flags, "--max-epoch", 1)
    checkpoint = tmp_path / "checkpoint_last.pt"
    scores = regression_scores(data, checkpoint)
    assert_logged(log, scores)
    del counted[:]
    assert_logged(validate(data, checkpoint, "--max-tokens", 90), scores)
    assert sum(counted) == n


# --- data of odd sizes ---


def test_a_validation_split_of_one_regression_example(tmp_path):
    """No correlation is defined; training must not fail for it."""
    data = toy.make_data(tmp_path / "data", {"train": 20, "valid": 1}, targets=1)
    flags = ["--num-classes", 1, "--regression-target", *FINE_TUNE, *CORRELATIONS]
    log = toy.fit(data, tmp_path / "student", *flags)
    target, prediction = (
        raw_targets(data)[0, 0],
        predictions(tmp_path / "student" / "checkpoint_last.pt", data)[0, 0],
    )
    expected = (target - prediction) ** 2 / np.log(2)
    assert toy.last_values(log, "valid")["loss"] == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("pairing", ["random", "length"])
def test_a_training_split_of_one_example_mixes_with_itself(tmp_path, teacher, pairing):
    data = toy.make_data(tmp_path / "data", {"train": 1, "valid": 1})
    flags = ["--mixup-pairing", pairing, "--mixup-ratio", 3, "--kd-weight", 1]
    flags += ["--teacher-path", teacher, "--dropout", 0, "--attention-dropout", 0]
    log = toy.fit(data, tmp_path / "student", *flags)
    values = toy.last_values(log, "train")
    assert values["mle_loss"] == pytest.approx(values["sm_loss"], abs=0.002)
    assert values["kd_loss"] == pytest.approx(values["tmkd_loss"], abs=0.002)


def test_batches_of_one_example(tmp_path, counted):
    data = toy.make_data(tmp_path / "data", {"train": 5, "valid": 3})
    flags = [*MIXUP, "--batch-size", 1, "--max-epoch", 1]
    toy.fit(data, tmp_path / "student", *flags)
    assert counted == [1] * 5 + [1] * 3


def test_an_empty_line_is_an_example_like_any_other(tmp_path, counted):
    data = toy.make_data(tmp_path / "data", {"train": 9, "valid": 5})
    for split in ("train", "valid"):
        path = data / "raw" / f"{split}.text"
        path.write_text("\n" + "\n".join(path.read_text().splitlines()[1:]) + "\n")
    raw = data / "raw"
    for old in (data / "input0").glob("*"):
        old.unlink()
    toy.preprocess(data, raw / "train.text", raw / "valid.text", raw / "dict.txt", "input0")
    flags = [*MIXUP, "--batch-size", 4, "--max-epoch", 1, "--init-token", 0]
    log = toy.fit(data, tmp_path / "student", *flags)
    assert sum(counted) == 9 + 5
    checkpoint = tmp_path / "student" / "checkpoint_last.pt"
    rows, gold = predictions(checkpoint, data), raw_labels(data, ("0", "1"))
    expected = sklearn.metrics.log_loss(
        gold, torch.tensor(rows).softmax(1).numpy(), labels=[0, 1]
    ) / np.log(2)  # fmt: skip
    assert toy.last_values(log, "valid")["loss"] == pytest.approx(expected, abs=0.001)


def test_an_over_long_line_is_skipped_in_training_and_no_partner(tmp_path):
    data = toy.make_data(tmp_path / "data", {"train": 60, "valid": 5}, longest=20)
    raw = data / "raw"
    lengths = [len(line.split()) + 2 for line in (raw / "train.text").read_text().splitlines()]
    allowed = 12
    flags = [*MIXUP, "--max-positions", allowed, "--max-epoch", 2, "--mixup-ratio", 2]
    flags += ["--skip-invalid-size-inputs-valid-test"]
    used, partners = [], []

    def watch(trainer, batches):
        for batch in batches:
            used.extend(batch["id"].tolist())
            partners.extend(batch["partner"]["id"].tolist())

    log = toy.fit(data, tmp_path / "student", *flags, watcher=watch)
    fits = [i for i, length in enumerate(lengths) if length <= allowed]
    assert 10 < len(fits) < 50
    assert sorted(used) == sorted(fits * 2)
    assert sorted(partners) == sorted(fits * 4)
    assert "samples have invalid sizes and will be skipped" in log
