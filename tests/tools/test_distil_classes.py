"""The classes of `distil`'s tables: their names, missing values, and what is doubtful."""

import json

import pytest
from distilled import flags, table

from mixkd_plugin.tools.distil.data import read_data


def test_a_class_may_have_the_name_of_a_missing_value(tmp_path):
    rows = [[f"t {i}", ("none", "hate", "nan")[i % 3]] for i in range(9)]
    train = table(tmp_path / "t.csv", ["text", "label"], rows)
    data = read_data(flags(train=train, dev=train, labels="none,hate,nan"), None)
    assert {*data.classes} == {"none", "hate", "nan"}
    assert data.unlabelled_count == 0 and len(data.dev) == 9
    assert not any("WARNING: labels" in note for note in data.notes)
    rows[1][1], rows[2][1] = "love", "hate"
    train = table(tmp_path / "t.csv", ["text", "label"], rows)
    data = read_data(flags(train=train), None)
    assert data.classes == ("hate", "love") and data.unlabelled_count == 5
    assert any("--labels" in note and "5 of them" in note for note in data.notes)


@pytest.mark.parametrize("more, between", [({}, " "), ({"multi_label": True}, "|")])
def test_an_output_of_the_teacher_is_a_class_whatever_its_name(tmp_path, more, between):
    labels = ["none", "hate", "", f"hate{between}speech"]
    train = table(tmp_path / "t.csv", ["text", "label"], [["a", label] for label in labels])
    given = flags(train=train, dev=train, skip_bad_lines=True, **more)
    data = read_data(given, None, outputs=["hate", "None", "speech", "hate speech"])
    assert {*data.classes} - {"hate", "speech", "hate_speech"} == {"none"}
    assert data.unlabelled_count == (0 if more else 1)  # "": no label, or none of several
    assert not any("read as no label" in note for note in data.notes)
    assert "none" not in read_data(given, None, outputs=["hate"]).classes


@pytest.mark.parametrize(
    "texts, labels, said",
    [
        (["a", "b"], ["-1", "0", "1", "2"], ["-1 is a class"]),
        (["a"], map(str, range(40)), ["40 classes in 40 training examples"]),
        (["a", "None"], ["x", "y"],
         ["texts: 20 of them are a word such as 'None' ({path}, line"] * 2),
    ],
)  # fmt: skip
def test_doubts_about_a_table_are_in_the_plan_unless_a_flag_answers_them(
    tmp_path, texts, labels, said
):
    labels = [*labels]
    rows = [[texts[i % len(texts)], labels[i % len(labels)]] for i in range(40)]
    train = table(tmp_path / "t.csv", ["text", "label"], rows)
    wanted = [words.format(path=train) for words in said]
    warnings = [note for note in read_data(flags(train=train, dev=train), None).notes
                if note.startswith("WARNING") and "dev texts" not in note]  # fmt: skip
    assert len(warnings) == len(wanted)
    assert all(words in warning for words, warning in zip(wanted, warnings))
    named = read_data(flags(train=train, dev=train, labels=",".join(labels)), None).notes
    assert any("-1 is a class" in n or "40 classes in" in n for n in named) is False


@pytest.mark.parametrize(
    "header, labels, given",
    [
        (["text", "label"], ["very bad", "so  so", ""], {}),
        (["text", "label"], ["very_bad", "so so", ""], {"labels": "very bad,so so"}),
        (["text", "label"], ["very bad|so so", "so so", ""], {"multi_label": True}),
        (["text", "very bad", "so so"], ["1,0", "0,1", "1,1"], {"label": "very bad,so so"}),
    ],
)
def test_names_of_classes_keep_their_blanks_for_the_student(tmp_path, header, labels, given):
    train = table(tmp_path / "t.csv", header, [["a", label] for label in labels])
    data = read_data(flags(train=train, dev=train, skip_bad_lines=True, **given), None)
    assert {*data.classes} == {"very_bad", "so_so"}
    assert [data.spelling[name] for name in ("very_bad", "so_so")] == ["very bad", "so so"]


@pytest.mark.parametrize(
    "lists, classes",
    [
        ([[1, 0], [0, 1], [0, 1]], None),  # the first class, or the second
        ([[0, 1], None, [0, 1]], None),
        ([["1", "0"], ["0", "1"], ["0", "1"]], ("0", "1")),
        ([[1, 0], ["0"], ["1"]], ("0", "1")),
        ([[1, 0], [0], [1]], ("0", "1")),  # numbers of classes
        ([[1, 0], [], [0, 1]], ("0", "1")),
        ([[1, 2], [0, 1], [2, 0]], ("0", "1", "2")),
    ],
)
def test_lists_of_0_and_1_for_each_class_are_no_names(tmp_path, lists, classes):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"text": "a", "label": its}) + "\n" for its in lists))
    given = flags(train=str(path), dev=str(path), skip_bad_lines=True)
    if classes:
        assert read_data(given, None).classes == classes
        return
    with pytest.raises(ValueError, match="--train .*t.jsonl: label must be .* 2 .*--label A,B"):
        read_data(given, None)
