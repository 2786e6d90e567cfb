"""A teacher that cannot be meant: one clear error, before the first update."""

import os

import pytest
import torch
import toy
from refusals import FINE_TUNE, KD, accepts, assert_matches, refusal
from slow_cases import slow
from two_vocabularies import add_second_text

ENSEMBLE_RULE = "--teacher-weights must be numbers >= 0, not all 0, .*, got"


@pytest.mark.parametrize(
    "weights, message",
    [
        ("0.5:0.5", "--teacher-weights must .* each of the 1 teachers .* got 0.5:0.5"),
        ("-1", f"{ENSEMBLE_RULE} -1"),
        ("0", f"{ENSEMBLE_RULE} 0"),
        ("heavy", f"{ENSEMBLE_RULE} heavy"),
        ("nan", f"{ENSEMBLE_RULE} nan"),
        ("1e308:1e308", f"{ENSEMBLE_RULE} 1e308:1e308"),  # their sum is no number
        ("", f"{ENSEMBLE_RULE} "),
    ],
)
def test_weights_of_the_ensemble(tmp_path, classification, teacher, weights, message):
    flags = [*KD, "--teacher-path", teacher, f"--teacher-weights={weights}"]
    assert_matches(message, refusal(classification, tmp_path, *flags))


def test_fewer_weights_than_teachers(tmp_path, classification, teacher):
    flags = [*KD, "--teacher-path", f"{teacher}:{teacher}", "--teacher-weights", "1"]
    message = refusal(classification, tmp_path, *flags)
    assert "--teacher-weights must" in message and "each of the 2 teachers" in message


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


class RunsCommand:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def write_malicious(path, state):
    state["extra_state"] = RunsCommand(f"touch '{path}.was_run'")
    torch.save(state, path)


def write_other(path, state):
    torch.save(state["model"], path)


@pytest.mark.parametrize(
    "write, message",
    [
        (write_malicious, "is refused: it would load posix.system"),
        (write_other, "is not a fairseq checkpoint"),
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


def edited(teacher, tmp_path, **edits):
    """A copy of the teacher's checkpoint with other parameters, by the end of their names."""
    with toy.edited(teacher, tmp_path / "edited.pt") as state:
        for ending, edit in edits.items():
            (name,) = (n for n in state["model"] if n.endswith(ending.replace("__", ".")))
            edit(state["model"][name])
    return tmp_path / "edited.pt"


@pytest.mark.parametrize(
    "dtype, ok", [("float16", False), *slow(("float32", True), ("auto", True))]
)
def test_weights_that_overflow_half_precision(tmp_path, classification, teacher, dtype, ok):
    path = edited(teacher, tmp_path, layers__2__fc2__bias=lambda w: w[:1].fill_(70000.0))
    flags = [*KD, "--teacher-path", path, "--teacher-dtype", dtype]
    if ok:
        accepts(classification, tmp_path / "student", *flags)
    else:
        message = refusal(classification, tmp_path / "student", *flags)
        assert str(path) in message and "--teacher-dtype" in message
        assert "layers.2.fc2.bias is not finite in torch.float16" in message


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_not_finite(tmp_path, classification, teacher, value):
    path = edited(teacher, tmp_path, layers__0__fc1__weight=lambda w: w[0].fill_(float(value)))
    message = refusal(classification, tmp_path / "student", *KD, "--teacher-path", path)
    assert f"--teacher-path {path}: its parameter" in message and "not finite" in message


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
    with toy.edited(path, tmp_path / "teacher.pt") as state:
        state["cfg"]["task"]["data"] = str(tmp_path / "gone" if since == "gone" else classification)
    flags = [*KD, "--teacher-path", tmp_path / "teacher.pt"]
    assert_matches(message, refusal(classification, tmp_path / "student", *flags))


def test_record_counts_more_than_a_folder_made_anew(tmp_path, classification, other):
    data, path = other("like", labels=("0", "1"))
    changed = toy.copy_data(data, tmp_path / "changed")
    (changed / "label" / "dict.txt").write_text("1 1\n0 1\n")
    with toy.edited(path, tmp_path / "teacher.pt") as state:
        state["cfg"]["task"]["data"] = str(changed)
    accepts(classification, tmp_path / "student", *KD, "--teacher-path", tmp_path / "teacher.pt")


def test_texts_that_are_laid_out_in_another_way(tmp_path, classification, teacher):
    """Its head would read another token than the one that it learned to read."""
    path = tmp_path / "t.pt"
    with toy.edited(teacher, path) as state:
        state["cfg"]["task"].update(init_token=5, separator_token=7)
    message = refusal(classification, tmp_path / "s", *KD, "--teacher-path", path)
    assert f"--teacher-path {path}: --init-token must be 5" in message and "got 0" in message
    with toy.edited(path) as state:
        state["cfg"]["task"].update(init_token=0)
    accepts(classification, tmp_path / "s", *KD, "--teacher-path", path)  # no text has two parts
    pairs = add_second_text(toy.copy_data(classification, tmp_path / "pairs"))
    message = refusal(pairs, tmp_path / "s", *KD, "--teacher-path", path)
    assert "--separator-token must be 7" in message and "got None" in message


def test_head_of_another_name(tmp_path, classification, teacher):
    flags = [*KD, "--teacher-path", teacher, "--classification-head-name", "rte"]
    message = refusal(classification, tmp_path, *flags)
    assert f"--teacher-path {teacher}: it has no classification head 'rte'" in message
    assert "sentence_classification_head" in message


def test_classification_teacher_for_regression(tmp_path, regression, other):
    data, path = other("one_class", labels=("0",))
    flags = [*KD, "--teacher-path", path, "--num-classes", 1, "--regression-target"]
    assert "it was trained for classification" in refusal(regression, tmp_path, *flags)


def test_teacher_that_takes_shorter_texts(tmp_path, classification, teacher):
    with toy.edited(teacher, tmp_path / "short.pt") as state:
        state["cfg"]["task"]["max_positions"] = 9
        state["cfg"]["model"].max_positions = 9
        (name,) = (n for n in state["model"] if n.endswith("embed_positions.weight"))
        state["model"][name] = state["model"][name][: 9 + 2].clone()
    flags = [*KD, "--teacher-path", tmp_path / "short.pt"]
    message = refusal(classification, tmp_path / "student", *flags)
    assert "it takes at most 9 tokens, the data has an example of 14" in message
    assert "--max-positions" in message


def test_not_a_roberta(tmp_path, classification, teacher):
    with toy.edited(teacher, tmp_path / "other.pt") as state:
        weights = state["model"].items()
        state["model"] = {k.replace("sentence_encoder", "trunk"): v for k, v in weights}
    flags = [*KD, "--teacher-path", tmp_path / "other.pt"]
    assert "it is no RoBERTa encoder" in refusal(classification, tmp_path / "student", *flags)


def test_unknown_task_of_the_teacher(tmp_path, classification, teacher):
    with toy.edited(teacher, tmp_path / "other.pt") as state:
        state["cfg"]["task"]["_name"] = "a_task_of_some_plugin"
    flags = [*KD, "--teacher-path", tmp_path / "other.pt"]
    message = refusal(classification, tmp_path / "student", *flags)
    assert "other.pt: its --task must be" in message and "got 'a_task_of_some_plugin'" in message
