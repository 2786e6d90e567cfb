"""A teacher that cannot be meant: one clear error, before the first update."""

import math
import os
from functools import partial

import pytest
import torch
import toy
from refusals import FINE_TUNE, KD, Call, accepts, assert_matches, refusal
from slow_cases import slow
from taught import of_few_positions, with_settings
from two_vocabularies import add_second_text

ENSEMBLE_RULE = "--teacher-weights must be numbers >= 0, not all 0, .*, got"


@pytest.mark.parametrize(
    "count, flags, message",
    [
        (1, ["--teacher-weights=-1"], f"{ENSEMBLE_RULE} -1"),
        (1, ["--teacher-weights=0"], f"{ENSEMBLE_RULE} 0"),
        (1, ["--teacher-weights=heavy"], f"{ENSEMBLE_RULE} heavy"),
        (1, ["--teacher-weights=nan"], f"{ENSEMBLE_RULE} nan"),
        # their sum is no number
        (1, ["--teacher-weights=1e308:1e308"], f"{ENSEMBLE_RULE} 1e308:1e308"),
        (1, ["--teacher-weights="], f"{ENSEMBLE_RULE} "),
        (1, ["--teacher-weights=0.5:0.5"],
         "--teacher-weights must .* each of the 1 teachers .* got 0.5:0.5"),
        (2, ["--teacher-weights=1"], "--teacher-weights must .* each of the 2 teachers"),
        (1, ["--classification-head-name", "rte"],
         "--teacher-path TEACHER: it has no classification head 'rte' .*sentence_classification"),
        (1, ["--hidden-weight", 1, "--encoder-layerdrop", 0.2],
         "^--encoder-layerdrop must be 0 with --hidden-weight, got 0.2"),
    ],
)  # fmt: skip
def test_flags_beside_a_teacher(tmp_path, classification, teacher, count, flags, message):
    path = ":".join([str(teacher)] * count)
    said = refusal(classification, tmp_path, *KD, "--teacher-path", path, *flags)
    assert_matches(message.replace("TEACHER", path), said)


@pytest.mark.parametrize(
    "teachers, more, message",
    [
        (2, [], "--hidden-weight must be 0 with .* several teachers, got 1"),
        (1, ["--encoder-embed-dim", 16], "--hidden-weight must be 0 .* width .* got 16 and 32"),
    ],
)
def test_hidden_states_that_do_not_fit(tmp_path, classification, teacher, teachers, more, message):
    path = ":".join([str(teacher)] * teachers)
    flags = [*KD, "--teacher-path", path, "--hidden-weight", 1, *more]
    with pytest.raises(ValueError) as error:
        toy.fit(classification, tmp_path, *flags)
    assert_matches(message, str(error.value))
    assert not list(tmp_path.glob("checkpoint*.pt"))


# --- the teacher's file ---


def write_malicious(path, state):
    state["extra_state"] = Call(os.system, f"touch '{path}.was_run'")
    torch.save(state, path)


@pytest.mark.parametrize(
    "write, message",
    [
        (write_malicious, "is refused: it would load posix.system"),
        (lambda path, state: torch.save(state["model"], path), "is not a fairseq checkpoint"),
        (lambda path, state: None, "does not exist"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, classification, teacher, write, message):
    path = tmp_path / "teacher.pt"
    write(path, torch.load(teacher))
    error = refusal(classification, tmp_path / "student", *KD, "--teacher-path", path)
    assert_matches(f"--teacher-path: .*teacher.pt {message}", error)
    assert not list(tmp_path.glob("*.was_run"))


# --- a teacher of something else ---


def with_weight(path, source, ending, value):
    """A copy of a checkpoint with another first row of one weight, by the end of its name."""
    with toy.edited(source, path) as state:
        (name,) = (n for n in state["model"] if n.endswith(ending))
        state["model"][name][0] = value
    return path


def renamed(path, source):
    """An encoder that is no RoBERTa."""
    with toy.edited(source, path) as state:
        weights = state["model"].items()
        state["model"] = {k.replace("sentence_encoder", "trunk"): v for k, v in weights}
    return path


@pytest.mark.parametrize(
    "changed, arguments, message",
    [
        (with_weight, ("0.fc1.weight", math.nan), "its parameter .* is not finite"),
        (with_weight, ("0.fc1.weight", math.inf), "its parameter .* is not finite"),
        (of_few_positions, (9,), "it takes at most 9 tokens, .* has .* of 14: .*--max-positions"),
        (renamed, (), "it is no RoBERTa encoder"),
        (partial(with_settings, _name="of_a_plugin"), ("task",),
         "its --task must be .*, got 'of_a_plugin'"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_be_one(
    tmp_path, classification, teacher, changed, arguments, message
):
    path = changed(tmp_path / "teacher.pt", teacher, *arguments)
    error = refusal(classification, tmp_path / "student", *KD, "--teacher-path", path)
    assert_matches(f"--teacher-path {path}: {message}", error)


@pytest.mark.parametrize(
    "dtype, ok", [("float16", False), *slow(("float32", True), ("auto", True))]
)
def test_weights_that_overflow_half_precision(tmp_path, classification, teacher, dtype, ok):
    path = with_weight(tmp_path / "teacher.pt", teacher, "2.fc2.bias", 70000.0)
    flags = [*KD, "--teacher-path", path, "--teacher-dtype", dtype]
    if ok:
        accepts(classification, tmp_path / "student", *flags)
    else:
        message = refusal(classification, tmp_path / "student", *flags)
        assert str(path) in message and "--teacher-dtype" in message
        assert "layers.2.fc2.bias is not finite in torch.float16" in message


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Data folders that differ from `classification` in one way each, and teachers of them."""
    made = {}

    def make(name, **settings):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            data = toy.make_data(folder / "data", {"train": 24, "valid": 8}, **settings)
            flags = [*FINE_TUNE, "--num-classes", len(settings.get("labels", "ab"))]
            if settings.get("targets"):
                flags += ["--regression-target", "--num-classes", settings["targets"]]
            toy.fit(data, folder, *flags, "--max-epoch", 1)
            made[name] = data, folder / "checkpoint_last.pt"
        return made[name]

    return make


SWAPPED = dict(labels=("1", "0"))
REORDERED = dict(words=toy.WORDS[::-1])
OTHERS = [
    ("more_words", dict(words=[*toy.WORDS, "new"]), "vocabulary has 46 types, the data's has 45"),
    ("reordered", REORDERED, "vocabulary .*: symbol 4 is 'w39', here 'w0'"),
    ("swapped", SWAPPED, r"labels .*dict.txt has \['1', '0'\], here \['0', '1'\]"),
    ("classes", dict(labels=("0", "1", "2")), "has 3 classes, --num-classes is 2"),
    ("regression", dict(targets=2), r"regression \(--regression-target\), this run is classif"),
]


@pytest.mark.parametrize("name, settings, message", OTHERS)
def test_teacher_of_another_task(tmp_path, classification, other, name, settings, message):
    _, path = other(name, **settings)
    error = refusal(classification, tmp_path, *KD, "--teacher-path", path)
    assert_matches(f"--teacher-path {path}: .*{message}", error)


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("reordered", REORDERED, r"its vocabulary differ.* recorded '\w{64}', here \w{64}"),
        ("swapped", SWAPPED, r"its labels .*recorded \['1', '0'\], here \['0', '1'\]"),
    ],
)
@pytest.mark.parametrize("since", ["gone", *slow("made anew")])
def test_by_its_own_record(tmp_path, classification, other, name, settings, message, since):
    """The folder that it was trained on is gone, or by now holds the student's data."""
    _, path = other(name, **settings)
    now = str(tmp_path / "gone" if since == "gone" else classification)
    path = with_settings(tmp_path / "teacher.pt", path, "task", data=now)
    flags = [*KD, "--teacher-path", path]
    assert_matches(message, refusal(classification, tmp_path / "student", *flags))


def test_record_counts_more_than_a_folder_made_anew(tmp_path, classification, other):
    data, path = other("like", labels=("0", "1"))
    changed = toy.copy_data(data, tmp_path / "changed")
    (changed / "label" / "dict.txt").write_text("1 1\n0 1\n")
    path = with_settings(tmp_path / "teacher.pt", path, "task", data=str(changed))
    accepts(classification, tmp_path / "student", *KD, "--teacher-path", path)


def test_texts_that_are_laid_out_in_another_way(tmp_path, classification, teacher):
    """Its head would read another token than the one that it learned to read."""
    other = {"init_token": 5, "separator_token": 7}
    path = with_settings(tmp_path / "t.pt", teacher, "task", **other)
    message = refusal(classification, tmp_path / "s", *KD, "--teacher-path", path)
    assert f"--teacher-path {path}: --init-token must be 5" in message and "got 0" in message
    with_settings(path, path, "task", init_token=0)
    accepts(classification, tmp_path / "s", *KD, "--teacher-path", path)  # no text has two parts
    pairs = add_second_text(toy.copy_data(classification, tmp_path / "pairs"))
    message = refusal(pairs, tmp_path / "s", *KD, "--teacher-path", path)
    assert "--separator-token must be 7" in message and "got None" in message


def test_classification_teacher_for_regression(tmp_path, regression, other):
    data, path = other("one_class", labels=("0",))
    flags = [*KD, "--teacher-path", path, "--num-classes", 1, "--regression-target"]
    assert "it was trained for classification" in refusal(regression, tmp_path, *flags)
