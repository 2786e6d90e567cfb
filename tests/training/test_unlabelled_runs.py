"""Runs on data of which some examples have no gold label, and what is refused."""

import inprocess
import numpy as np
import pytest
import toy
from encode_files import decoded, encode_glue, write_glue, write_model
from ranks import as_one_and_as_two
from refusals import FINE_TUNE, accepts, assert_matches, refusal
from same_end import assert_same_end
from scores import assert_logged, predictions, raw_labels
from unlabelled import ALLOW, NONE, relabelled, without

pytestmark = pytest.mark.slow
LABELS = ("0", "1")


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
    """101 training examples of two classes, the odd ones without a label."""
    data = toy.make_data(tmp_path_factory.mktemp("partly") / "data", {"train": 101, "valid": 37})
    return without(data, False, set(range(1, 101, 2)))


def test_validation_on_the_training_split(tmp_path, partly):
    """Against the labelled lines one at a time."""
    flags = [*FINE_TUNE, *ALLOW, "--max-epoch", 6, "--lr", 0.005, "--dropout", 0, "--report-mcc"]
    toy.fit(partly, tmp_path, *flags)
    checkpoint = tmp_path / "checkpoint_last.pt"
    flags = ["--valid-subset", "train", "--batch-size", 7]
    log = inprocess.validate(*toy.validate_flags(partly, checkpoint, *flags))
    predicted = predictions(checkpoint, partly, "train").argmax(1)[::2]
    gold = raw_labels(partly, [*LABELS, "<unk>"], "train")[::2]
    expected = {"accuracy": np.mean(predicted == gold), "mcc": np.corrcoef(predicted, gold)[0, 1]}
    assert_logged(log, expected, "train")


def test_several_processes_compute_what_one_does(tmp_path, partly, teacher):
    logs = as_one_and_as_two(partly, tmp_path, teacher, *ALLOW)
    assert "51 of 101 training examples have a label" in logs[0]
    logged = [toy.last_values(log, "train") for log in logs]
    for key in ("mle_loss", "sm_loss", "accuracy", "teacher_accuracy", "agreement"):
        assert logged[0][key] == pytest.approx(logged[1][key], abs=0.1001), key


def test_the_flag_changes_nothing_where_all_have_labels(tmp_path, classification, teacher):
    flags = ["--kd-weight", 1, "--teacher-path", teacher, "--max-update", 6]
    for name, extra in (("refuse", []), ("allow", ALLOW)):
        toy.fit(classification, tmp_path / name, *flags, *extra)
    assert_same_end(tmp_path / "refuse", tmp_path / "allow")


def test_labels_matter_to_no_term_of_the_teacher(tmp_path, classification, partly, teacher):
    """partly is classification without half of the labels: the same bits without label losses."""
    flags = ["--mle-weight", 0, "--kd-weight", 1, "--sm-weight", 0, "--teacher-path", teacher]
    flags += ["--max-update", 6]
    for name, data in (("all", classification), ("half", partly)):
        toy.fit(data, tmp_path / name, *flags, *ALLOW)
    assert_same_end(tmp_path / "all", tmp_path / "half", but=("meters",))


# --- refusals ---


def test_refusals(tmp_path, data):
    without(data, False, {3})
    message = "example 3 has the label '<unk>'.*--unlabelled-examples allow"
    assert_matches(message, refusal(data, tmp_path / "s", *FINE_TUNE))
    accepts(data, tmp_path / "s", *FINE_TUNE, *ALLOW)
    without(data, False, range(101))
    message = "--mle-weight 1 must be 0: no training example has a label"
    assert_matches(message, refusal(data, tmp_path / "s", *FINE_TUNE, *ALLOW))
    message = "--mle-weight 1 and --sm-weight 0.5 must be 0"
    flags = ["--sm-weight", 0.5, "--tmkd-weight", 0, *ALLOW]
    assert_matches(message, refusal(data, tmp_path / "s", *flags))
    relabelled(data, "valid", ["0"] * 36 + ["<unk>"])
    assert_matches("valid: example 36 has", refusal(data, tmp_path / "s", *FINE_TUNE, *ALLOW))


def test_refusals_of_regression(tmp_path):
    sizes = {"train": 24, "valid": 8}
    data = without(toy.make_data(tmp_path / "data", sizes, targets=3), True, {5, 9})
    flags = [*FINE_TUNE, "--num-classes", 3, "--regression-target"]
    message = "'nan nan nan' is not 3 finite numbers.*--unlabelled-examples allow"
    assert_matches(message, refusal(data, tmp_path / "s", *flags))
    accepts(data, tmp_path / "s", *flags, *ALLOW)
    path = data / "label" / "train.label"
    path.write_text(path.read_text().replace(NONE[True], "nan 1 nan", 1))
    assert_matches("'nan 1 nan' is not 3", refusal(data, tmp_path / "s", *flags, *ALLOW))


# --- from GLUE files ---


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


def test_encode_makes_unlabelled_examples_of_empty_fields(tmp_path, model, capsys):
    rows = [["a", "1"], ["b", ""], ["c", "0"], ["a b", "  "]]
    glue = write_glue(tmp_path / "g", ["sentence", "label"], rows, rows[::2])
    flags = encode_glue(glue, "SST-2", model, tmp_path / "d", unlabelled=True)
    assert flags == "--num-classes 2 --init-token 0 --unlabelled-examples allow"
    assert (tmp_path / "d" / "train_flags.txt").read_text() == flags + "\n"
    assert decoded(tmp_path / "d", "train") == [("a", 1), ("b", -1), ("c", 0), ("a b", -1)]
    assert decoded(tmp_path / "d") == [("a", 1), ("c", 0)]
    assert "SST-2 train: 4 examples, 2 of them without a label" in capsys.readouterr().out

    rows = [["a", "b", "5"], ["b", "c", ""]]
    glue = write_glue(tmp_path / "s", ["sentence1", "sentence2", "score"], rows, rows[:1])
    assert " --unlabelled-examples allow " in encode_glue(
        glue, "STS-B", model, tmp_path / "ds", unlabelled=True
    )
    assert (tmp_path / "ds" / "label" / "train.label").read_text() == "1.0\nnan\n"


def test_encode_refuses_empty_labels_of_validation(tmp_path, model):
    glue = write_glue(tmp_path / "g", ["sentence", "label"], [["a", "1"]], [["a", "1"], ["b", ""]])
    with pytest.raises(ValueError, match="dev.tsv, line 3: label must"):
        encode_glue(glue, "SST-2", model, tmp_path / "d", unlabelled=True)


def test_encode_does_not_take_other_labels_for_none(tmp_path, model):
    glue = write_glue(tmp_path / "g", ["sentence", "label"], [["a", "<unk>"]])
    with pytest.raises(ValueError, match="train.tsv, line 2: .*<unk>"):
        encode_glue(glue, "SST-2", model, tmp_path / "d", unlabelled=True)
