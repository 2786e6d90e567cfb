"""Teacher logits: computed once, looked up by example, equal from step, memory and disk."""

import numpy as np
import pytest
import torch
from recorded_train import by_epoch, watcher
from slow_cases import slow
from taught import run, totals

from mixkd_plugin.mixup import Mix
from mixkd_plugin.teacher.ensemble import TeacherEnsemble


@pytest.mark.parametrize(
    "flags, mixed",
    [
        (["--tmkd-weight", 1, "--mixup-period", 2], 101 * 2 * 2),
        *slow(
            (["--tmkd-weight", 0], 0),
            (["--tmkd-weight", 1], 101 * 2 * 3),
            (["--tmkd-weight", 1, "--mixup-period", 1], 101 * 2),
        ),
    ],
    ids=str,
)
def test_nothing_is_asked_twice(tmp_path, classification, teacher, asked, flags, mixed):
    """101 examples for training and 37 for validation, three epochs."""
    run(classification, tmp_path, teacher, *flags)
    assert totals(asked) == (101 + 37, mixed)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--teacher-cache", "CACHE", "--mixup-kind", "span:interpolate"],
        ["--mixup-period", 2],
        ["--mixup-period", 1, "--train-fraction", 0.5, "--update-freq", 2],
        ["--teacher-cache", "CACHE", "--mixup-pairing", "length"],
        ["--teacher-cache", "CACHE", "--batch-by-length", "off", "--num-workers", 2],
        ["--mixup-period", 2, "--padding-free", "off", "--max-positions", 9],  # some are too long
        ["--mixup-period", 2, "--mixup-kind", "splice"],
    ],
    ids=lambda flags: " ".join(map(str, flags)) or "plain",
)
def test_what_is_looked_up_is_what_the_teacher_says_to_these_rows(
    tmp_path, classification, teacher, flags
):
    compared = []

    def compare(trainer, batches):
        outputs = trainer.task.teacher
        for batch in batches:
            tokens = batch["net_input"]["src_tokens"]
            mix = Mix.of(batch, batch["partner"]["net_input"]["src_tokens"], with_clean=True)
            completed, _ = trainer.task.complete(batch)
            outputs.load()
            expected = outputs.ensemble.logits(tokens, mix)
            found = [completed["teacher_logits"], completed["partner"]["teacher_logits"]]
            torch.testing.assert_close(torch.cat(found), expected, rtol=1e-4, atol=1e-5)
            compared.extend(batch["id"].tolist())

    flags = [tmp_path / "cache" if flag == "CACHE" else flag for flag in flags]
    if "--max-positions" in flags:
        flags += ["--arch", "mixkd_tiny", "--skip-invalid-size-inputs-valid-test"]
    run(classification, tmp_path / "student", teacher, *flags, watcher=compare)
    assert len(compared) == 3 * len(set(compared)) and len(set(compared)) >= 50


def test_mixes_return_after_the_period(tmp_path, classification, teacher):
    records = []
    run(classification, tmp_path, teacher, "--mixup-period", 2, watcher=watcher(records.append))
    epochs = by_epoch(records)
    assert epochs[3] == epochs[1] != epochs[2]


def test_a_run_shorter_than_an_epoch_asks_for_no_more_than_it_uses(
    tmp_path, classification, teacher, asked
):
    flags = ["--max-update", 2, "--update-freq", 2, "--batch-size", 10, "--disable-validation"]
    run(classification, tmp_path, teacher, *flags)
    clean, mixed = totals(asked)
    assert mixed == 2 * clean and clean in range(36, 41)


def test_validation_on_training_examples_loads_no_mixes(tmp_path, classification, teacher, asked):
    flags = ["--batch-size", 8, "--max-tokens-valid", 20, "--valid-subset", "train"]
    run(classification, tmp_path, teacher, *flags, "--tmkd-weight", 1, "--max-epoch", 1)
    assert totals(asked) == (101, 2 * 101), "the two mixes of a text were only trained on"


# --- what cannot be kept ---


def test_an_answer_that_is_no_number_is_named(tmp_path, classification, teacher, monkeypatch):
    logits = TeacherEnsemble.logits

    def overflowing(self, *args, **kwargs):
        answers = logits(self, *args, **kwargs)
        answers[1] = np.inf
        return answers

    monkeypatch.setattr(TeacherEnsemble, "logits", overflowing)
    with pytest.raises(ValueError, match=r"--teacher-path: .*example \d+ of split 'valid'.*dtype"):
        run(classification, tmp_path, teacher)


def test_texts_that_are_cropped_at_random_are_asked_about_anew(
    tmp_path, classification, teacher, asked
):
    crop = ["--shorten-method", "random_crop", "--max-positions", 8, "--mixup-period", 1]
    run(classification, tmp_path, teacher, *crop)
    assert totals(asked)[1] == 101 * 2 * 3
    with pytest.raises(ValueError, match="--teacher-cache .*random_crop"):
        run(classification, tmp_path, teacher, *crop, "--teacher-cache", tmp_path / "cache")
