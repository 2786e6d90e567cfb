"""Runs whose teacher has a vocabulary of its own: processes, caches, resuming, long texts."""

import shutil
from pathlib import Path

import inprocess
import pytest
import torch
import toy
from fairseq.models.roberta import RobertaModel
from ranks import as_one_and_as_two
from recorded_train import batches_of
from same_end import assert_same_end
from taught import another_token, contents, of_few_positions
from toy import EVERYTHING, HEAD
from two_vocabularies import INIT, texts_of


@pytest.mark.slow
def test_the_parameters_of_two_processes_are_those_of_one(tmp_path, words):
    as_one_and_as_two(words.data, tmp_path, words.teacher, "--teacher-data", words.copy)


@pytest.mark.slow
def test_answers_on_disk_are_found_again_by_any_student(tmp_path, words, loads):
    """Also by one of the teacher's own vocabulary, whose data are the copy."""
    flags = ["--kd-weight", 1, "--teacher-cache", tmp_path / "cache"]
    words.run(tmp_path / "cold", *flags)
    assert loads
    loads.clear()
    words.run(tmp_path / "warm", *flags)
    assert_same_end(tmp_path / "cold", tmp_path / "warm")
    same = ["--teacher-path", words.teacher, "--init-token", INIT, *flags]
    toy.fit(words.copy, tmp_path / "same", *same)
    assert loads == []


def test_a_changed_copy_is_not_answered_by_old_answers(tmp_path, words, loads):
    flags = ["--kd-weight", 1, "--max-epoch", 1, "--teacher-cache", tmp_path / "cache"]
    words.run(tmp_path / "a", *flags)
    assert len(contents(tmp_path / "cache")) == 3
    copy = toy.copy_data(words.copy, tmp_path / "copy")
    another_token(copy)
    loads.clear()
    words._replace(copy=copy).run(tmp_path / "b", *flags)
    assert loads and len(contents(tmp_path / "cache")) == 3 + 2  # validation has its own text


@pytest.mark.slow
def test_a_resumed_run_is_the_straight_run(tmp_path, words):
    flags = ["--kd-weight", 1, "--mixup-period", 2, "--max-epoch", 3, "--num-workers", 1]
    words.run(tmp_path / "whole", *flags)
    words.run(tmp_path / "parts", *flags, "--max-update", 10)  # in the second epoch
    words.run(tmp_path / "parts", *flags)
    # where the first part stopped it also validated
    assert_same_end(tmp_path / "whole", tmp_path / "parts", but=("scores", "meters"))


def test_a_student_outlives_the_copy(tmp_path, words):
    """An ensemble, and every term; then the student loads, validates and answers without them."""
    copy = toy.copy_data(words.copy, tmp_path / "copy")
    path = shutil.copy(words.teacher, tmp_path / "teacher.pt")
    flags = [*EVERYTHING, "--teacher-path", f"{path}:{path}", "--student-init-layers", "first"]
    log = words._replace(copy=copy).run(tmp_path / "s", *flags)
    shutil.rmtree(copy)
    Path(path).unlink()
    student = tmp_path / "s" / "checkpoint_last.pt"
    again = inprocess.validate(*toy.validate_flags(words.data, student, "--batch-size", 7))
    assert toy.last_values(again, "valid")["accuracy"] == toy.last_values(log, "valid")["accuracy"]
    hub = RobertaModel.from_pretrained(str(student.parent), student.name, str(words.data), bpe=None)
    assert hub.predict(HEAD, torch.tensor([0, 5, 6, 2])).shape == (1, 2)


# --- long texts ---


@pytest.fixture(scope="module")
def short(tmp_path_factory, words):
    """A teacher that takes 9 tokens; the copy has texts of up to 26."""
    path = tmp_path_factory.mktemp("short") / "short.pt"
    return words._replace(teacher=of_few_positions(path, words.teacher, 9))


def test_texts_too_long_for_the_teacher_are_an_error_or_cut(tmp_path, short):
    with pytest.raises(ValueError) as error:
        short.run(tmp_path / "a")
    message = f"--teacher-path {short.teacher} .--teacher-data {short.copy}.: it takes at most 9 "
    message += r"tokens, --teacher-data \S+ has an example of \d\d: .*--shorten-method truncate"
    assert error.match(message)
    flags = short.flags_for(tmp_path / "b", "--shorten-method", "truncate", "--max-epoch", 1)
    parts = [part for _, batch in batches_of(flags) for part in (batch, batch["partner"])]
    assert max(part["teacher_tokens"].size(1) for part in parts) == 9


def test_texts_too_long_for_the_student_are_nothing_to_the_teacher(tmp_path, short):
    """Those of up to 4 tokens are 6 at most in the copy."""
    skip = ["--max-positions", 4, "--skip-invalid-size-inputs-valid-test", "--kd-weight", 1]
    batches = [batch for _, batch in batches_of(short.flags_for(tmp_path, *skip, "--max-epoch", 1))]
    asked = [i for b in batches for part in (b, b["partner"]) for i in part["id"].tolist()]
    short_texts = [i for i, (t,) in enumerate(texts_of(short.data, "train")) if len(t.split()) <= 2]
    assert sorted(asked) == sorted(short_texts * 2) and len(short_texts) > 5
