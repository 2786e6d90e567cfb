"""encode: no missing or look-alike label is a class of its own, and no missing text a word."""

import json
import re
import shlex

import pytest
from encode_files import classes, decoded, encode, flags_of, labelled, refused, said_of, write

from mixkd_plugin.tools.texts.likeness import MISSING

WORDS = [
    "nan", "NaN", "None", "null", "NULL", "N/A", "<NA>", "NaT", "1.#QNAN", "?", "\\N", "(null)",
    "#DIV/0!", "-", "\u2014", "", " ", "\u200b", "\ufeff",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("word", WORDS)
def test_a_missing_label_is_refused_by_its_line(tmp_path, wordpiece, word, suffix):
    said = said_of(tmp_path, ["1", "0", word], wordpiece, suffix)
    line = 3 if suffix == "jsonl" else 4
    assert f"t.{suffix}, line {line}: label must" in said and "--unlabelled" in said
    assert (repr(word) in said) == (word.strip().casefold() in MISSING)


@pytest.mark.parametrize("label", [None, float("nan")])
def test_missing_values_of_json(tmp_path, wordpiece, label):
    assert "line 3: label must" in said_of(tmp_path, [1, 0, label], wordpiece, "jsonl")
    path = tmp_path / "t.jsonl"
    path.write_text(path.read_text() + '{"text": "b", "label": 1}\n')
    valid = write(tmp_path / "v.csv", ["text", "label"], [("a", "1")])
    encode(*flags_of(path, valid, wordpiece, tmp_path / "d"), "--unlabelled")
    assert [c for _, c in decoded(tmp_path / "d", "train")] == [1, 0, -1, 1]


def test_a_missing_word_is_no_label_with_unlabelled_and_a_class_with_labels(
    tmp_path, wordpiece, capsys
):
    path = labelled(tmp_path, ["1", "none", "0", "none"], "csv")
    valid = write(tmp_path / "v.csv", ["text", "label"], [("a", "1")])
    encode(*flags_of(path, valid, wordpiece, tmp_path / "d"), "--unlabelled")
    said = capsys.readouterr().out
    assert f"WARNING: train: labels: 2 of them are a word such as 'none' ({path}, line 3)" in said
    assert "4 examples, 2 of them without a label" in said
    assert [c for _, c in decoded(tmp_path / "d", "train")] == [1, -1, 0, -1]
    for flags in ([], ["--unlabelled"]):
        out = tmp_path / f"e{len(flags)}"
        encode(*flags_of(path, path, wordpiece, out), "--labels", "0,1,none", *flags)
        said = capsys.readouterr().out
        assert "without a label" not in said and "WARNING" not in said
        assert [c for _, c in decoded(out, "train")] == [1, 2, 0, 2]


def cure_of(said):
    """The flag that an error says to add, typed as it stands."""
    return shlex.split(re.search(r"--labels='?[^'; )]+'?", said)[0])


MEANT = {  # that a first try refuses
    "a sentiment": ["positive", "None", "negative"],
    "countries": ["US", "NA", "DE", "NO"],
    "two classes": ["n/a", "ok"],
    "both missing": ["None", "null"],
    "case": ["A", "a", "B"],
    "versions": ["1.1", "1.10", "2.0"],
    "numbers below 0": ["-1", "0", "0.0"],
    "NLI": ["entailment", "-", "neutral"],
    "punctuation": [",", "?", "O", "Yes, sure"],
}


@pytest.mark.parametrize("case", MEANT)
def test_classes_that_are_meant_are_named_as_the_error_says(tmp_path, wordpiece, case):
    labels = MEANT[case]
    cure = cure_of(said_of(tmp_path, labels, wordpiece))
    path = labelled(tmp_path, labels, "csv")
    encode(*flags_of(path, path, wordpiece, tmp_path / "d"), *cure)
    names = ["_".join(label.split()) for label in labels]
    assert sorted(classes(tmp_path / "d")) == sorted(names)
    found = [classes(tmp_path / "d")[c] for _, c in decoded(tmp_path / "d")]
    assert found == names


def test_too_many_or_odd_classes_are_not_listed(tmp_path, wordpiece):
    labels = [f"intent {i}" for i in range(150)]
    said = said_of(tmp_path, [*labels, "none"], wordpiece)
    assert "if that is a class: --labels with all classes" in said and "intent" not in said
    assert "--labels with all classes" in said_of(tmp_path, ["\u0430", "a", "b"], wordpiece)


def test_a_minus_beside_a_plus_is_a_class(tmp_path, wordpiece):
    path = labelled(tmp_path, ["+", "-", "0"], "csv")
    encode(*flags_of(path, path, wordpiece, tmp_path / "d"))
    assert classes(tmp_path / "d") == ["+", "-", "0"]


def test_a_class_of_minus_one_is_told_unless_it_is_meant(tmp_path, wordpiece, capsys):
    for number, (labels, told) in enumerate(
        [(["0", "1", "2", "-1"], True), (["-1", "0", "1"], False), (["-2", "-1", "0", "1"], False)]
    ):
        path = labelled(tmp_path, labels, "csv")
        flags = flags_of(path, path, wordpiece, tmp_path / f"d{number}")
        encode(*flags)
        assert ("WARNING: train: labels: -1 is a class" in capsys.readouterr().out) == told
    labels = f"--labels={','.join(labels)}"
    encode(*flags[:-1], tmp_path / "e", labels)
    assert "WARNING" not in capsys.readouterr().out


@pytest.mark.parametrize("regression", [False, True])
def test_lines_without_a_label_can_be_left_out(tmp_path, wordpiece, regression, capsys):
    """Of validation, too; with --unlabelled training keeps them."""
    rows = [("a", "1", "0"), ("b", "NA", ""), ("c", "0", "1"), ("", "", "")]
    rows += [("a b", "1", "")] * regression
    path = write(tmp_path / "t.csv", ["text", "x", "y"], rows)
    flags = [path, path, wordpiece, tmp_path / "d", "text", "x,y" if regression else "x"]
    flags = [*flags_of(*flags), *["--regression"] * regression]
    assert "line 3: label must" in refused(*flags) and "--skip-bad-lines" in refused(*flags)
    encode(*flags, "--skip-bad-lines")
    assert f"2 examples, 0 of them cut to 128 tokens; {2 + regression} lines" in (
        capsys.readouterr().out
    )
    flags[flags.index(tmp_path / "d")] = tmp_path / "e"
    if regression:
        assert "got an empty one beside '1'" in refused(*flags, "--unlabelled")
    encode(*flags, "--unlabelled", "--skip-bad-lines")
    said = capsys.readouterr().out
    assert "4 examples, 2 of them without a label" in said and "): 2 examples, 0 of" in said


BAD_SCORES = ["inf", "-Infinity", "1e39", "1_000", "１", "0x10", "1,5", "true", "1 2", "--1", "e5"]


@pytest.mark.parametrize("score", BAD_SCORES)
def test_scores_are_plain_finite_numbers(tmp_path, wordpiece, score):
    said = said_of(tmp_path, ["1", "0.5", score], wordpiece, "tsv", "--regression")
    assert "t.tsv, line 4: " in said and "number" in said


@pytest.mark.parametrize("score", [None, float("nan"), "nan", "None", ""])
def test_missing_scores(tmp_path, wordpiece, score):
    labels = ["1", "0.5", score]
    assert "line 3: label must" in said_of(tmp_path, labels, wordpiece, "jsonl", "--regression")
    path = labelled(tmp_path, labels, "jsonl")
    valid = write(tmp_path / "v.csv", ["text", "label"], [("a", "1")])
    flags = flags_of(path, valid, wordpiece, tmp_path / "d")
    encode(*flags, "--regression", "--unlabelled")
    assert (tmp_path / "d" / "label" / "train.label").read_text() == "1\n0.5\nnan\n"


def test_infinity_of_json(tmp_path, wordpiece):
    for flags in ([], ["--regression"]):
        said = said_of(tmp_path, [1, 0, float("inf")], wordpiece, "jsonl", *flags)
        assert (
            "line 3: label must be text, a finite number, true, false or null, got the number inf"
            in said
        )


# --- texts ---


@pytest.mark.parametrize("text", [None, float("nan")])
def test_a_missing_text_of_json_is_refused_or_left_out(tmp_path, wordpiece, text):
    path = tmp_path / "t.jsonl"
    rows = [{"text": t, "label": i % 2} for i, t in enumerate(["a", "b", text, ""])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = flags_of(path, path, wordpiece, tmp_path / "d")
    assert "line 3: text is null or NaN, a missing value" in refused(*flags)
    encode(*flags, "--skip-bad-lines")
    assert decoded(tmp_path / "d") == [("a", 0), ("b", 1), ("", 1)]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_a_text_that_is_a_word_for_a_missing_value_is_told(tmp_path, wordpiece, suffix, capsys):
    rows = [("a", "x"), ("nan", "y"), ("NULL ", "x"), ("no nan", "y"), ("banana", "y")]
    path = write(tmp_path / f"t.{suffix}", ["text", "label"], rows)
    encode(*flags_of(path, path, wordpiece, tmp_path / "d"))
    line = 2 if suffix == "jsonl" else 3
    warned = f"WARNING: train: texts: 2 of them are a word such as 'nan' ({path}, line {line})"
    assert warned in capsys.readouterr().out


def test_the_quotation_marks_of_csv_in_a_tsv_are_told(tmp_path, wordpiece, capsys):
    """As pandas writes them, with sep="\\t"; they are a part of the texts."""
    for text, warns in (('"a ""b"" c"', True), ('"a" and "b"', False), ('"a b"', False)):
        path = tmp_path / "t.tsv"
        path.write_text(f"text\tlabel\nx\t0\n{text}\t1\n")
        encode(*flags_of(path, path, wordpiece, tmp_path / "d"), "--force", "--max-unknown", 1)
        told = f"train: texts: 1 of them are quoted such as {text!r} ({path}, line 3)"
        assert (told in capsys.readouterr().out) == warns


@pytest.mark.parametrize("kind", ["wordpiece", "gpt2", "sentencepiece"])
def test_texts_of_which_nothing_is_seen_are_empty(tmp_path, tokenizers, kind, capsys):
    texts = ["a b", "\u200b", "\u00ad\ufeff", "\u00a0\u3000", "\u2060 \u202e", "", "c\u200b"]
    path = write(tmp_path / "t.jsonl", ["text", "label"], [(t, i % 2) for i, t in enumerate(texts)])
    encode(*flags_of(path, path, tokenizers[kind], tmp_path / "d"), "--max-unknown", 1)
    assert "7 examples, 5 of them with an empty text" in capsys.readouterr().out


def test_a_column_without_any_text_is_refused(tmp_path, wordpiece):
    path = write(tmp_path / "t.csv", ["text", "label"], [("", "x"), (" ", "y")])
    assert "--text must be" in refused(*flags_of(path, path, wordpiece, tmp_path / "d"))


def test_a_name_twice_in_an_object(tmp_path, wordpiece):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": 0, "label": 1}\n')
    assert "line 2: not JSON: " in refused(*flags_of(path, path, wordpiece, tmp_path / "d"))
