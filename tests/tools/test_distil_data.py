"""The texts of `distil` before anything is trained: columns, classes, the held-out part."""

import json
import re

import pytest
from distilled import flags, table
from encode_files import write_glue

from mixkd_plugin.tools.distil.data import read_data
from mixkd_plugin.tools.distil.tables import write_tables
from mixkd_plugin.tools.texts.columns import find_columns
from mixkd_plugin.tools.texts.likeness import listed


@pytest.mark.parametrize(
    "header, texts, label",
    [
        (["Text", "Label"], ("Text",), "Label"),
        (["id", "review", "stars"], ("review",), "stars"),
        (["label", "hypothesis", "premise"], ("premise", "hypothesis"), "label"),
        (["question", "sentence", "label"], ("question", "sentence"), "label"),
        (["sentence1", "sentence2", "score"], ("sentence1", "sentence2"), "score"),
        (["title", "text", "category", "label"], ("text",), "label"),
        (["what they said", "class"], ("what they said",), "class"),
        (["film; or play", "label"], ("film; or play",), "label"),  # it was split
        (["Text", "text", "review", "label"], ("text",), "label"),  # a name in lower case wins
        (["text", "Label", "label", "score"], ("text",), "label"),
        (["Premise", "hypothesis", "premise", "label"], ("premise", "hypothesis"), "label"),
        (["text", "Title", "TITLE", "label"], ("text",), "label"),  # which is not read
    ],
)
def test_columns_are_found_by_name(tmp_path, header, texts, label):
    path = table(tmp_path / "t.csv", header, [["x"] * len(header)])
    assert find_columns(path, None, None)[:2] == (texts, (label,))


@pytest.mark.parametrize(
    "header, flag",
    [
        (["a", "b", "label"], "--text"),
        (["review", "tweet", "label"], "--text"),
        (["text", "x", "y"], "--label"),
        (["Text", "TEXT", "label"], "--text"),
        (["text", "stars", "topic"], "--label"),
    ],
)
def test_what_is_not_clear_is_asked_for_with_the_columns(tmp_path, header, flag):
    path = table(tmp_path / "t.csv", header, [["x"] * len(header)])
    with pytest.raises(ValueError, match=f"{flag} .*{re.escape(listed(header))}$"):
        find_columns(path, None, None)
    found = find_columns(path, header[0], header[-1])
    assert found[:2] == ((header[0],), (header[-1],))


@pytest.mark.parametrize(
    "header, flag, both",
    [
        (["Text", "TEXT", "review", "label"], "--text", "Text, TEXT"),
        (["text", "Label", "LABEL", "score"], "--label", "Label, LABEL"),
        (["premise", "Hypothesis", "HYPOTHESIS", "label"], "--text", "Hypothesis, HYPOTHESIS"),
        (["text", " label", "Label"], "--label", "' label', Label"),
        (["film", "Film", "label"], "--text", "film, Film"),  # the only text, if it were one
    ],
)
def test_columns_that_differ_by_case_alone_are_not_passed_over(tmp_path, header, flag, both):
    path = table(tmp_path / "t.csv", header, [["x"] * len(header)])
    with pytest.raises(ValueError, match=f"{flag} .* got {both}, .* case .*{listed(header)}$"):
        find_columns(path, None, None)
    other = both.split(", ")[1]
    found = find_columns(path, *((other, None) if flag == "--text" else (None, other)))
    assert other in found.texts + found.labels
    if flag == "--label":
        assert find_columns(path, None, None, labelled=False)[:2] == (("text",), ())


@pytest.mark.parametrize(
    "header, texts",
    [
        (["question", "title", "answer", "passage"], ("question", "passage")),
        (["question", "answer"], ("question",)),
        (["answer", "review", "Query"], None),
    ],
)
def test_the_label_is_never_a_text(tmp_path, header, texts):
    path = table(tmp_path / "t.csv", header, [["x"] * len(header)])
    if texts is None:
        with pytest.raises(ValueError, match="--text"):
            find_columns(path, None, "answer")
    else:
        assert find_columns(path, None, "answer")[:2] == (texts, ("answer",))


def test_a_stratified_tenth_is_held_out_where_there_is_no_dev_set(tmp_path):
    rows = [[f"text {i}", "rare" if i % 20 == 0 else "usual"] for i in range(400)]
    train = table(tmp_path / "t.csv", ["text", "label"], rows + [["no label", ""]])
    data = read_data(flags(train=train), None)
    assert data.classes == ("rare", "usual") and data.unlabelled_count == 1
    assert [e.label for e in data.dev].count("rare") == 2 and len(data.dev) == 40
    assert len(data.train) == 361 and not {e.texts for e in data.dev} & {
        e.texts for e in data.train
    }
    assert read_data(flags(train=train), None) == data
    assert read_data(flags(train=train, seed=2), None).dev != data.dev
    assert data.constant == 95


def test_several_labels_are_the_same_in_every_form(tmp_path):
    has = [["x"] if i < 10 else ["x", "y"] if i < 11 else [] for i in range(20)]
    lists = tmp_path / "t.jsonl"
    lists.write_text("".join(f'{{"text": "{i}", "labels": {json.dumps(its)}}}\n'
                             for i, its in enumerate(has)))  # fmt: skip
    columns = [[str(i), *(str(int(n in its)) for n in "xy")] for i, its in enumerate(has)]
    columns = table(tmp_path / "c.csv", ["text", "x", "y"], columns)
    names = [[str(i), ";".join(its)] for i, its in enumerate(has)]
    names = table(tmp_path / "n.csv", ["text", "label"], names)
    for given in (
        {"train": str(lists), "dev": str(lists)},
        {"train": columns, "dev": columns, "label": "x,y"},
        {"train": names, "dev": names, "multi_label": True, "label_separator": ";"},
    ):
        data = read_data(flags(**given), None)
        assert data.multi_label and data.classes == ("x", "y")
        assert [e.label for e in data.dev[9:12]] == ["1 0", "1 1", "0 0"]
        assert data.constant == pytest.approx(max(200 * 11 / (12 + 20), 200 * 12 / (12 + 40)))
    data = read_data(flags(train=str(lists)), None)  # a tenth is held out
    assert len(data.dev) == 2 and len(data.train) == 18
    with pytest.raises(ValueError, match="--regression .* several labels"):
        read_data(flags(train=columns, label="x,y", regression=True), None)


@pytest.mark.parametrize("labels, regression", [(["1", "2.5"], True), (["1", "2.0"], False)])
def test_numbers_with_a_fraction_are_a_regression(tmp_path, labels, regression):
    rows = [[f"text {i}", labels[i % 2]] for i in range(20)]
    train = table(tmp_path / "t.csv", ["text", "label"], rows)
    data = read_data(flags(train=train, dev=train), None)
    assert (data.classes is None) == regression
    if regression:
        with pytest.raises(ValueError, match="--labels must be given with classes, got 1,2 for a"):
            read_data(flags(train=train, labels="1,2"), None)
    assert any("20 of the 20 dev texts" in note for note in data.notes)
    assert read_data(flags(train=train, dev=train), True).classes is None  # as the teacher is


@pytest.mark.parametrize("scores", [["2.5"], ["2.5", "2.50"]])
def test_scores_of_a_dev_set_differ(tmp_path, scores):
    """Else no student could be chosen by a correlation, after all were trained."""
    train = table(tmp_path / "t.csv", ["text", "label"], [["a", "2.5"], ["b", "1"], ["c", "2"]])
    dev = table(tmp_path / "d.csv", ["text", "label"], [["d", score] for score in scores])
    for given, count in ((dev, len(scores)), (None, 1)):
        with pytest.raises(ValueError, match=f"--dev must have .* scores.* got {count} of "):
            read_data(flags(train=train, dev=given), None)


@pytest.mark.parametrize("wrong", ["inf", "-inf", "Infinity", "+nan", "1e999", "-1e999"])
def test_a_score_that_is_not_finite_is_refused_with_its_line(tmp_path, wrong):
    for first in ("0.5", "1"):
        rows = [["a", first], ["b", wrong], ["c", "2"], ["d", ""]]
        train = table(tmp_path / "t.csv", ["text", "label"], rows)
        with pytest.raises(ValueError, match="t.csv, line 3: score must be a finite number"):
            read_data(flags(train=train, dev=train), None)
    names = table(tmp_path / "n.csv", ["text", "label"], [["a", "inf"], ["b", "fin"]])
    assert read_data(flags(train=names, dev=names), None).classes == ("fin", "inf")


def test_texts_without_labels_come_from_lines_and_tables(tmp_path):
    train = table(
        tmp_path / "t.csv", ["text", "label"], [[f"t {i}", "ab"[i % 2]] for i in range(9)]
    )
    lines = tmp_path / "more.txt"
    lines.write_text("one\n\n two \n", encoding="utf-8")
    more = table(tmp_path / "more.csv", ["Sentence", "other"], [["three", "x"]])
    data = read_data(flags(train=train, dev=train, unlabelled=[str(lines), more]), None)
    assert [e.texts[0] for e in data.train[9:]] == ["one", " two ", "three"]
    assert data.unlabelled_count == 3
    of_lines, of_table = (n for n in data.notes if "without labels" in n)
    assert of_table.endswith("text is Sentence") and "text is" not in of_lines


def test_lines_that_cannot_be_used_are_left_out_by_request(tmp_path):
    rows = [["a", "x"], ["b", "y"], ["c"], ["d", ""]]
    train = table(tmp_path / "t.csv", ["text", "label"], rows)
    given = {"train": train, "dev": train}
    with pytest.raises(ValueError, match="line 4: 1 fields .*--skip-bad-lines"):
        read_data(flags(**given), None)
    data = read_data(flags(**given, skip_bad_lines=True), None)
    assert [e.texts[0] for e in data.train] == ["a", "b", "d"] and len(data.dev) == 2
    more = table(tmp_path / "more.csv", ["text", "x"], [["e", ""], ["f"]])
    data = read_data(flags(**given, skip_bad_lines=True, unlabelled=[more]), None)
    assert [e.texts[0] for e in data.train] == ["a", "b", "d", "e"]
    rows = [["a", "0", "1"], ["b", "1", ""], ["c", "", ""]]  # a label of b alone is not known
    several = table(tmp_path / "s.csv", ["text", "x", "y"], rows)
    given = {"train": several, "dev": several, "label": "x,y"}
    with pytest.raises(ValueError, match="line 3: label must be given"):
        read_data(flags(**given), None)
    data = read_data(flags(**given, skip_bad_lines=True), None)
    assert [e.texts[0] for e in data.train] == ["a", "c"] and data.unlabelled_count == 1


def test_files_of_texts_without_labels(tmp_path):
    train = table(tmp_path / "t.csv", ["text", "label"], [["a", "x"], ["b", "y"]])

    def read(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8")
        given = flags(train=train, dev=train, unlabelled=[str(tmp_path / name)])
        return [e.texts[0] for e in read_data(given, None).train[2:]]

    assert any("--unlabelled" in n for n in read_data(flags(train=train, dev=train), None).notes)
    assert read("M.CSV", 'id,text\n1,"c, d"\n') == ["c, d"]
    assert read("m.txt", "one\u2028line\n\n  \nb\n") == ["one\u2028line", "b"]
    assert read("of_another_name.tsv", "id\treview\n1\tc\n") == ["c"]
    for name, content, said in (
        ("m.json", '{"text": "c"}', "--unlabelled must be a file of"),
        ("m.jsonl", '{"text": "c", "title": "t"}\n{"text": null, "title": "u"}', "line 2: text"),
        ("m.csv", "text,id\nc\n", "line 2"),
        ("n.txt", "\n \n", "is empty"),
        ("n.csv", "", "is empty"),
    ):
        with pytest.raises(ValueError, match=f"--unlabelled .*{name}.*{said}|{said}.*{name}"):
            read(name, content)
    given = flags(train=train, dev=train, unlabelled=[str(tmp_path / "m.txt")])
    (tmp_path / "m.txt").write_text("a\n")
    dev = table(tmp_path / "d.csv", ["text", "label"], [["c", "x"], ["d", "y"]])
    assert not any("dev texts" in n for n in read_data(flags(train=train, dev=dev), None).notes)
    (tmp_path / "m.txt").write_text("d\n")
    notes = read_data(flags(train=train, dev=dev, unlabelled=given.unlabelled), None).notes
    assert not any("--unlabelled" in note for note in notes)
    assert any("1 of the 2 dev texts" in note for note in notes)


def test_the_scores_of_glue_are_on_the_scale_of_the_teacher(tmp_path):
    rows = [("a", "b", "5.0"), ("c", "d", "1.25")]
    folder = write_glue(tmp_path / "STS-B", ["sentence1", "sentence2", "score"], rows)
    (tmp_path / "teacher.pt").touch()
    given = {"glue": str(folder), "task": "STS-B"}
    ours = read_data(flags(**given, teacher=str(tmp_path / "teacher.pt")), True)
    assert [e.label for e in ours.train] == ["1.0", "0.25"]
    theirs = read_data(flags(**given, teacher=str(tmp_path)), True)
    assert [e.label for e in theirs.dev] == ["5.0", "1.25"]


def test_a_class_that_no_text_has(tmp_path):
    """The table for `encode` has a column for each output of the teacher."""
    rows = [[str(i), "x|y" if i % 2 else "x"] for i in range(6)]
    train = table(tmp_path / "t.csv", ["text", "label"], rows)
    data = read_data(flags(train=train, dev=train, multi_label=True), None)
    paths = write_tables(data, ["y", "x", "z"], ["y", "x", "z"], tmp_path / "texts")
    first, second = (json.loads(line) for line in paths["dev"].read_text().splitlines()[:2])
    assert [first[f"label{i}"] for i in range(3)] == ["0", "1", "0"]
    assert [second[f"label{i}"] for i in range(3)] == ["1", "1", "0"]
