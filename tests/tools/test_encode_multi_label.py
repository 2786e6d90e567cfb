"""encode: several labels for a text, from one column of names or a column for each class."""

import re

import pytest
from encode_files import classes, encode, flags_of, refused, write


def lines(data, split="train"):
    return (data / "label" / f"{split}.label").read_text().splitlines()


def written(folder, name, header, rows, tokenizer, *flags, label="label"):
    path = write(folder / name, header, rows)
    given = flags_of(path, path, tokenizer, folder / "d", label=label)
    encode(*given, "--multi-label", *flags)
    return folder / "d"


@pytest.mark.parametrize("separator", ["|", ";"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_column_of_names(tmp_path, wordpiece, separator, suffix):
    labels = ["joy|anger", "", "very sad", "anger", " sad| joy |"]
    rows = [("a b c", label.replace("|", separator)) for label in labels]
    flags = [] if separator == "|" else ["--label-separator", separator]
    data = written(tmp_path, f"t.{suffix}", ["text", "label"], rows, wordpiece, *flags)
    assert classes(data) == ["anger", "joy", "sad", "very_sad"]
    assert lines(data) == ["1 1 0 0", "0 0 0 0", "0 0 0 1", "1 0 0 0", "0 1 1 0"]
    flags = (data / "train_flags.txt").read_text().split()
    assert flags[:2] == ["--num-classes", "4"] and "--multi-label" in flags
    assert "--regression-target" not in flags


def test_a_list_in_json(tmp_path, wordpiece):
    rows = [("a b c", ["joy", "anger"]), ("b", []), ("c", ["very sad"]), ("a", "joy")]
    data = written(tmp_path, "t.jsonl", ["text", "label"], rows, wordpiece)
    assert classes(data) == ["anger", "joy", "very_sad"]
    assert lines(data) == ["1 1 0", "0 0 0", "0 0 1", "0 1 0"]
    null = write(tmp_path / "null.jsonl", ["text", "label"], [*rows, ("b", None)])
    given = flags_of(null, tmp_path / "t.jsonl", wordpiece, tmp_path / "null")
    assert "line 5: label must be given" in refused(*given, "--multi-label")
    encode(*given, "--multi-label", "--unlabelled")
    assert lines(tmp_path / "null")[-1] == "nan nan nan"
    for i, wrong in enumerate((["joy|anger"], [1, 0, 1], [True], [["joy"]], [0.0, 1.0])):
        path = write(tmp_path / "w.jsonl", ["text", "label"], [("a", ["x", "y"]), ("b", wrong)])
        given = flags_of(path, path, wordpiece, tmp_path / f"{i}")
        said = refused(*given, "--multi-label")
        assert "line 2: label must be a list of different names" in said and "--label A,B" in said
        assert "got a list" in refused(*given)


def test_given_classes_keep_their_order(tmp_path, wordpiece):
    rows = [("a", "b|a"), ("b", "")]
    flags = ["--labels", "b,c,a"]
    data = written(tmp_path, "t.csv", ["text", "label"], rows, wordpiece, *flags)
    assert classes(data) == ["b", "c", "a"] and lines(data) == ["1 0 1", "0 0 0"]


def test_a_column_for_each_class(tmp_path, wordpiece):
    rows = [("a", 1, 0, True), ("b", 0, 0, False), ("c", "1.0", 1, "true")]
    data = written(tmp_path, "t.jsonl", ["text", "x", "y", "z"], rows, wordpiece, label="z,x,y")
    assert classes(data) == ["z", "x", "y"]
    assert lines(data) == ["1 1 0", "0 0 0", "1 1 1"]


def test_texts_without_labels(tmp_path, wordpiece):
    """An empty field has no class; a word for a missing value is no label."""
    valid = write(tmp_path / "v.csv", ["text", "label"], [("a", "y|x")])
    train = write(tmp_path / "t.csv", ["text", "label"], [("a", "nan"), ("b", ""), ("c", "x|y")])
    given = flags_of(train, valid, wordpiece, tmp_path / "d")
    assert "t.csv, line 2: label must be given" in refused(*given, "--multi-label")
    encode(*given, "--multi-label", "--unlabelled")
    assert lines(tmp_path / "d") == ["nan nan", "0 0", "1 1"]
    columns = write(tmp_path / "c.csv", ["text", "x", "y"], [("a", "", ""), ("b", "0", "1")])
    valid = write(tmp_path / "w.csv", ["text", "x", "y"], [("b", "0", "1")])
    given = flags_of(columns, valid, wordpiece, tmp_path / "e", label="x,y")
    assert "c.csv, line 2: label must be given" in refused(*given, "--multi-label")
    encode(*given, "--multi-label", "--unlabelled")
    assert lines(tmp_path / "e") == ["nan nan", "0 1"]


@pytest.mark.parametrize(
    "rows, flags, label, expected",
    [
        ([("a", "x|y"), ("b", "z")], ["--labels", "x,y"], "label", "line 3: label must .*'z'"),
        ([("a", "x|y"), ("b", "X")], [], "label", "line 3: label 'X' looks like 'x'"),
        ([("a", "x")], ["--regression"], "label", "--multi-label"),
        ([("a", "x")], ["--label-separator", " "], "label", "--label-separator"),
        ([("a", "x")], ["--labels", "x|y,z"], "label", "--label-separator"),
        ([("a", "2")], [], "label,text", "line 2: label of label must be 0 or 1, got '2'"),
        ([("a", "1")], ["--labels", "p,q,r"], "label,text", "--labels .* 2 columns"),
        ([("a", "1")], ["--label-separator", ";"], "label,text", "--label-separator"),
    ],
)
def test_refusals(tmp_path, wordpiece, rows, flags, label, expected):
    path = write(tmp_path / "t.csv", ["text", "label"], rows)
    given = flags_of(path, path, wordpiece, tmp_path / "d", label=label)
    said = refused(*given, "--multi-label", *flags)
    assert re.search(expected, said), said
    assert not (tmp_path / "d").exists()


def test_the_separator_is_of_several_labels(tmp_path, wordpiece):
    path = write(tmp_path / "t.csv", ["text", "label"], [("a", "x"), ("b", "y")])
    said = refused(*flags_of(path, path, wordpiece, tmp_path / "d"), "--label-separator", "|")
    assert "--label-separator must" in said
