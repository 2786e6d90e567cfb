"""Which label of the data is which output of the teacher, in `distil` and `import`."""

import re

import numpy as np
import pytest

from mixkd_plugin.names import join_names
from mixkd_plugin.tools.distil.data import Data
from mixkd_plugin.tools.distil.source import FAIRSEQ, IMPORTED, Source, labels_of
from mixkd_plugin.tools.labels import match_labels
from mixkd_plugin.tools.texts.examples import check_classes
from mixkd_plugin.tools.texts.reading import Columns


def test_a_fairseq_teacher_of_the_same_classes_is_not_asked():
    data = Data([], [], ("0", "1"), Columns(("text",), ("label",)), [])
    source = Source("t.pt", FAIRSEQ, 2, ["0", "1"], False, 0)
    assert labels_of(source, data, None).order == ["0", "1"]


@pytest.mark.parametrize("kind", [FAIRSEQ, IMPORTED])
def test_a_regression_of_several_numbers_is_refused(kind):
    data = Data([], [], None, Columns(("text",), ("score",)), [])
    assert labels_of(Source("t", kind, 1, None, True, 0), data, None).order == []
    with pytest.raises(ValueError, match="--teacher must have one output .* got 2 in t: "):
        labels_of(Source("t", kind, 2, None, True, 0), data, None)


def matched(classes, declared, counts=None, given=None, unless=None):
    theirs = declared or [f"LABEL_{i}" for i in range(len(counts))]

    def confusion():
        assert counts is not None, "the teacher was asked"
        return np.array(counts)

    return match_labels(classes, theirs, given, confusion, unless).order


def test_labels_are_matched_by_their_names():
    assert matched(["neg", "pos"], ["pos", "neg"]) == ["pos", "neg"]
    assert matched(["negative", "positive"], ["POSITIVE", "NEGATIVE"]) == ["positive", "negative"]
    assert matched(["no", "yes"], ["yes", "no", "maybe"]) == ["yes", "no", ""]
    assert matched(["a", "b"], ["x", "y"], given="b,a") == ["b", "a"]


BLANKS = ["so, so", "Science & Tech", "👍 good", "a / b", "Sports (US)", "5 ★"]


@pytest.mark.parametrize("change", [str, str.upper])
def test_a_blank_beside_punctuation_is_as_the_line_that_the_data_have_for_it(change):
    ours = check_classes(sorted(BLANKS), "--label")
    found = match_labels(ours, [change(name) for name in BLANKS], None, lambda: None)
    assert found.order == ["so,_so", "Science_&_Tech", "👍_good", "a_/_b", "Sports_(US)", "5_★"]
    assert bool(found.notes) == (change is str.upper)
    with pytest.raises(ValueError) as error:
        match_labels(ours, ["x y", *BLANKS[1:]], None, lambda: None)
    assert "Science & Tech" not in str(error.value) and str(error.value).count("5_★") == 2
    with pytest.raises(ValueError, match="--labels .* got x_y, .*: the classifier has x_y"):
        match_labels(ours, ["x y", *BLANKS[1:]], join_names(["x y", *BLANKS[1:]]), lambda: None)


def test_a_name_wins_over_those_that_look_like_it():
    assert matched(["A", "b"], ["A", "a", "b"]) == ["A", "", "b"]
    assert matched(["a", "b"], ["A", "a", "b"]) == ["", "a", "b"]
    assert matched(["A", "a"], ["a", "A"]) == ["a", "A"]
    assert matched(["GOOD", "good"], ["Good", "good"]) == ["GOOD", "good"]
    for theirs in (["Good", "GOOD", "bad"], ["good", "bad", "good"], ["bad", "good.", "Good"]):
        with pytest.raises(ValueError, match="'good' .*(output [12]).*--labels") as error:
            matched(["bad", "good"], [*theirs])
        assert all(repr(name) in str(error.value) for name in theirs if name != "bad")
    with pytest.raises(ValueError, match="--labels"):
        matched(["Good", "good"], ["GOOD", "bad"])


def test_given_labels_are_compared_with_the_predictions_where_these_are_clear():
    of_b_a, unclear = [[3, 40], [30, 5]], [[9, 8], [1, 7]]
    for counts in (of_b_a, unclear):
        assert matched(["a", "b"], None, counts, "b,a", "--flag") == ["b", "a"]
    with pytest.raises(ValueError, match="--labels .* got a,b: .* say b,a; --flag"):
        matched(["a", "b"], None, of_b_a, "a,b", "--flag")


@pytest.mark.parametrize(
    "counts, given, said",
    [
        ([[9, 0, 0], [0, 9, 0]], "b,a,c", "a,b,?"),
        ([[9, 0, 0], [0, 0, 9]], "b,c,a", "a,?,b"),
        ([[9, 0, 0], [0, 5, 4]], "b,a,c", "a,?,?"),  # not clear which is b's, but not the first
        ([[9, 0, 0], [0, 9, 0]], "a,b,c", None),
        ([[9, 0, 0], [0, 9, 0]], "c,b,a", None),  # the first is of none of the data's classes
        ([[9, 1, 0], [8, 2, 0]], "a,b,c", None),  # a teacher that mostly says a
        ([[9, 0, 0], [4, 5, 0]], "b,a,c", None),
        ([[9, 0, 0], [0, 0, 0]], "b,a,c", None),  # no text of b
    ],
)
def test_given_labels_of_more_outputs_than_the_data_have_classes(counts, given, said):
    def result():
        return matched(["a", "b"], ["x", "y", "z"], counts, given, "--flag")

    if said is None:
        assert result() == given.split(",")
        return
    with pytest.raises(ValueError, match=f"--labels .* got {given}: .* say {re.escape(said)}; --f"):
        result()


def test_unnamed_labels_are_matched_by_the_teachers_answers():
    assert matched(["neg", "pos"], None, [[3, 40], [30, 5]]) == ["pos", "neg"]
    assert matched(["0", "1"], ["NEGATIVE", "POSITIVE"], [[30, 2], [1, 9]]) == ["0", "1"]
    assert matched(["0", "1"], ["POSITIVE", "NEGATIVE"], [[3, 20], [10, 1]]) == ["1", "0"]
    twelve = [str(i) for i in range(12)]
    assert matched(twelve, None, np.eye(12) * 9) == twelve
    assert matched(twelve, None, np.ones((12, 12))) == twelve
    three = [[0, 9, 1], [1, 2, 9], [9, 1, 1]]
    assert matched(["a", "b", "c"], None, three) == ["c", "a", "b"]
    assert matched(["0", "1"], None, [[5, 5], [5, 5]]) == ["0", "1"]  # a weak teacher of numbers


@pytest.mark.parametrize(
    "classes, declared, counts, given",
    [
        (["neg", "pos"], None, [[10, 9], [3, 20]], None),  # not clear
        (["neg", "pos"], None, [[20, 1], [20, 1]], None),  # one output for both
        (["0", "1"], None, [[1, 20], [20, 1]], None),  # the numbers say otherwise
        (["neg", "pos"], ["joy", "anger"], None, None),
        (["neg", "neutral", "pos"], ["neg", "pos"], None, None),
        (["neg", "pos"], ["x", "y"], None, "neg,neg,pos"),
        (["neg", "pos"], ["x", "y"], None, "neg,negative"),
        (["neg", "pos"], ["x", "y", "z"], None, "neg,pos,neg"),
    ],
)
def test_other_labels_stop_it_with_both_lists_and_the_flag(classes, declared, counts, given):
    with pytest.raises(ValueError) as error:
        matched(classes, declared, counts, given)
    for name in ("--labels", *classes, *(declared or ["LABEL_0", "LABEL_1"])):
        assert name in str(error.value)
