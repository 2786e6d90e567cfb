"""encode: labels that look alike are no classes of their own, and numbers are in their order."""

import pytest
from encode_files import classes, decoded, encode, flags_of, labelled, refused, said_of, write

from mixkd_plugin.tools.texts.likeness import is_blank, likeness

ALIKE = {
    "integer and decimal": [1, 0, 1.0],
    "text": ["1", "0", "1.0"],
    "leading zero": ["1", "0", "01"],
    "sign": ["1", "0", "+1"],
    "power": ["10", "0", "1e1"],
    "full width": ["1", "0", "１"],
    "true and 1": [True, False, 1],
    "True and true": ["True", "False", "true"],
    "quoted": ["1", "0", '"1"'],
    "Arabic digit": ["1", "0", "١"],
    "thousands": ["1,000", "1", "1000"],
    "full stop": ["good", "bad", "good."],
    "apostrophe": ["don't", "do", "don’t"],
    "dotted capital": ["iyi", "bad", "İyi"],
    "case": ["Good", "bad", "good"],
    "blank": ["very bad", "good", "very_bad"],
    "blank beside a sign": ["Q & A", "news", "q_&_a"],
    "no-break space": ["very bad", "good", "very\u00a0bad"],
    "hyphen": ["not-entailed", "entailed", "not entailed"],
    "dash": ["not-entailed", "entailed", "not–entailed"],
    "composed": ["café", "bar", "cafe\u0301"],
    "sharp s": ["strasse", "weg", "straße"],
    "zero width": ["good", "bad", "go\u200bod"],
    "joiner": ["good", "bad", "go\u200dod"],
    "soft hyphen": ["good", "bad", "go\u00adod"],
    "mark": ["good", "bad", "good\ufeff"],
    "direction": ["good", "bad", "\u202agood\u202c"],
    "Cyrillic": ["good", "bad", "gооd"],
}


@pytest.mark.parametrize("case", ALIKE)
def test_labels_that_look_alike_are_refused(tmp_path, wordpiece, case):
    said = said_of(tmp_path, ALIKE[case], wordpiece, "jsonl")
    assert "line 3: label" in said and "--labels" in said
    assert "of line 1" in said or "U+" in said
    assert said.isascii() or case in ("composed", "sharp s"), "two that look alike look alike"


def test_a_look_alike_of_validation_or_of_given_classes_is_named(tmp_path, wordpiece):
    train = write(tmp_path / "t.csv", ["text", "label"], [("a", "0.0"), ("b", "1.0")])
    valid = write(tmp_path / "v.csv", ["text", "label"], [("a", "1")])
    said = refused(*flags_of(train, valid, wordpiece, tmp_path / "d"))
    assert "v.csv, line 2: label must be one of 0.0, 1.0, got '1'; it looks like '1.0'" in said
    said = said_of(tmp_path, ["Q & a"], wordpiece, "csv", "--labels", "Q & A,news")
    assert "label must be one of Q_&_A, news, got 'Q & a'; it looks like 'Q_&_A'" in said
    said = said_of(tmp_path, ["good", "go\u200bod"], wordpiece, "csv", "--labels", "bad,good")
    assert "line 3: label must be one of bad, good, got 'go\\u200bod'; it looks like 'good'" in said


def test_classes_that_labels_names_are_not_compared(tmp_path, wordpiece):
    path = labelled(tmp_path, ["Good", "good", "1", "1.0", "go\u200bod"], "csv")
    flags = flags_of(path, path, wordpiece, tmp_path / "d")
    encode(*flags, "--labels", "1,1.0,good,Good,go\u200bod")
    assert [c for _, c in decoded(tmp_path / "d")] == [3, 2, 0, 1, 4]
    said = refused(*flags[:-1], tmp_path / "e", "--labels", "very bad,very_bad,Good")
    assert "--labels: classes must differ, got 'very bad' and 'very_bad'" in said


@pytest.mark.parametrize("label", ["go\u200bod", "\u00ad", "g\x00d", "\u202dgood", "good\u200d"])
def test_what_cannot_be_seen_is_refused_alone_too(tmp_path, wordpiece, label):
    labels = ["bad", label if not is_blank(label) else f"good{label}"]
    said = said_of(tmp_path, labels, wordpiece, "jsonl")
    assert "line 2: label" in said and f"U+{ord(label.strip('god')[0]):04X}" in said


def test_joiners_that_scripts_and_emoji_need_are_allowed(tmp_path, wordpiece):
    labels = ["❤\ufe0f", "👩\u200d🔬", "بی\u200cطرف"]
    path = labelled(tmp_path, labels, "jsonl")
    encode(*flags_of(path, path, wordpiece, tmp_path / "d"))
    assert sorted(classes(tmp_path / "d")) == sorted(labels)


def test_numbers_are_in_their_order(tmp_path, wordpiece):
    path = labelled(tmp_path, ["10.0", "9.0", "-1.5", "1e3"], "csv")
    encode(*flags_of(path, path, wordpiece, tmp_path / "d"))
    assert classes(tmp_path / "d") == ["-1.5", "9.0", "10.0", "1e3"]


def test_likeness_is_no_more_than_it_should_be():
    apart = [
        "1", "-1", "10", "0.1", "yes", "no", "+", "-", "B", "B-", "B+", "a b", "ab", "1e999999999",
        "1-2", "12", "neg", "",
    ]  # fmt: skip
    assert len({likeness(label) for label in apart}) == len(apart)
