"""Several labels for a text: a run with a teacher and mixes, what it logs, and what is refused."""

import re

import inprocess
import pytest
import toy
from ranks import as_one_and_as_two
from refusals import FINE_TUNE, KD, assert_matches, refusal
from scores import assert_logged, multi_label_scores, predictions, raw_targets
from several_labels import FLAGS, write
from slow_cases import slow
from unlabelled import ALLOW

AVERAGE = "--report-average-precision"
KL = ["--kd-weight", 1, "--distill-distance", "kl", "--distill-temperature", 2]


@pytest.fixture(scope="module")
def several_teacher(tmp_path_factory, multi_label):
    folder = tmp_path_factory.mktemp("several_teacher")
    flags = [*FLAGS, *FINE_TUNE, "--lr", 0.005, "--max-epoch", 6, "--validate-interval", 6]
    toy.fit(multi_label, folder, *flags)
    return folder / "checkpoint_last.pt"


def test_a_distilled_student_and_its_scores(tmp_path, multi_label, several_teacher):
    """The best checkpoint is chosen, and validated again, by the mean average precision."""
    flags = [
        *FLAGS, *KL, "--teacher-path", several_teacher, AVERAGE, "--best-checkpoint-metric",
        "mean_average_precision", "--maximize-best-checkpoint-metric", "--lr", 0.005,
        "--teacher-cache", tmp_path / "cache",
    ]  # fmt: skip
    log = toy.fit(multi_label, tmp_path / "student", *flags)
    trained = toy.last_values(log, "train")
    total = sum(trained[f"{term}_loss"] for term in ("mle", "kd", "sm", "tmkd"))
    assert trained["loss"] == pytest.approx(total, abs=0.003)
    assert trained["teacher_accuracy"] > 50 and {"micro_f1", "macro_f1", "agreement"} <= {*trained}
    best = tmp_path / "student" / "checkpoint_best.pt"
    flags = toy.validate_flags(multi_label, best, "--batch-size", 7)
    wanted = multi_label_scores(predictions(best, multi_label), raw_targets(multi_label))
    assert_logged(inprocess.validate(*flags), wanted)


def test_unlabelled_examples_and_a_fraction(tmp_path, multi_label, several_teacher):
    data = toy.copy_data(multi_label, tmp_path / "data")
    lines = (data / "label" / "train.label").read_text().split("\n")[:-1]
    write(data, "train", [["nan"] * 3 if i % 2 else lines[i].split() for i in range(len(lines))])
    flags = [*FLAGS, *KL, "--teacher-path", several_teacher, "--max-epoch", 1]
    assert "train.label, line 2" in refusal(data, tmp_path / "refused", *flags)
    flags += [*ALLOW, "--train-fraction", 0.4]
    log = toy.fit(data, tmp_path / "student", *flags)
    assert "training on 40 of 101 examples" in log
    assert "20 of 40 training examples have a label" in log


# --- refusals ---


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--regression-target"], "--multi-label .* --regression-target"),
        (["--report-mcc"], "--report-mcc .* --multi-label"),
        (["--report-acc-and-f1"], "--report-acc-and-f1 .* --multi-label"),
        (["--report-pearson-and-spearman"], "--report-pearson-and-spearman .* --multi-label"),
        (["--num-classes", 2], "--num-classes must be 3.* got 2"),
    ],
)
def test_flags(tmp_path, multi_label, flags, message):
    assert_matches(message, refusal(multi_label, tmp_path, *FLAGS, *FINE_TUNE, *flags))


@pytest.mark.parametrize(
    "line", ["0 1 2", "0 1 nan", *slow("0 1", "0 1 0.5", "nan nan nan", "", "a b c")]
)
def test_lines_of_labels(tmp_path, multi_label, line):
    data = toy.copy_data(multi_label, tmp_path / "data")
    path = data / "label" / "valid.label"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:4], line, *lines[5:]]))
    message = refusal(data, tmp_path / "student", *FLAGS, *FINE_TUNE)
    assert_matches("valid.label, line 5: .* not 3 times 0 or 1", message)


def test_another_number_of_lines(tmp_path, multi_label):
    data = toy.copy_data(multi_label, tmp_path / "data")
    path = data / "label" / "train.label"
    path.write_text(path.read_text() + "0 1 0\n")
    message = refusal(data, tmp_path / "student", *FLAGS, *FINE_TUNE)
    assert_matches("train.label must have .* 101 examples, got 102", message)


def test_one_class_for_each_text_is_not_several(tmp_path, multi_label, classification):
    message = refusal(classification, tmp_path, "--multi-label", *FINE_TUNE)
    assert_matches(r"label/\w+.label does not exist", message)
    assert AVERAGE in refusal(classification, tmp_path, *FINE_TUNE, AVERAGE)


def test_teachers_of_another_kind(tmp_path, multi_label, several_teacher, teacher, classification):
    theirs = toy.copy_data(multi_label, tmp_path / "two")
    for split in ("train", "valid"):
        lines = (theirs / "label" / f"{split}.label").read_text().splitlines()
        write(theirs, split, [line.split()[:2] for line in lines])
    (theirs / "label" / "dict.txt").write_text("0 1\n1 1\n")
    two = ["--multi-label", *KD]
    message = refusal(theirs, tmp_path / "student", *two, "--teacher-path", teacher)
    assert_matches(r"was trained for classification .* this run is .*\(--multi-label\)", message)
    flags = ["--num-classes", 3, *KD, "--teacher-path", several_teacher]
    message = refusal(classification, tmp_path / "student", *flags)
    assert_matches(r"was trained for several labels \(--multi-label\), this run is class", message)


def test_a_resumed_run_keeps_its_kind(tmp_path, data):
    for split in ("train", "valid"):
        names = (data / "raw" / f"{split}.label").read_text().split()
        write(data, split, [[1 - int(name), int(name)] for name in names])
    toy.fit(data, tmp_path / "run", *FINE_TUNE, "--max-update", 1)
    message = refusal(data, tmp_path / "run", *FINE_TUNE, "--multi-label")
    assert_matches("--multi-label must be False.* got True", message)


# --- processes ---


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path, multi_label, several_teacher):
    flags = [*FLAGS, *KL, AVERAGE]
    logs = as_one_and_as_two(multi_label, tmp_path, several_teacher, *flags)
    for kind in ("train", "valid"):
        ours, theirs = (toy.last_values(log, kind) for log in logs)
        names = {n for n in ours if re.search("loss|accuracy|agreement|f1|precision", n)}
        assert names >= {"micro_f1", "macro_f1", "mle_loss"} and names <= {*theirs}
        assert ("mean_average_precision" in names) == (kind == "valid")
        for name in names:
            assert ours[name] == pytest.approx(theirs[name], abs=0.1001), name
