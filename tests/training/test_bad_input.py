"""Input that cannot be meant: one clear error, before the first update. Flags, student, data."""

import forked
import pytest
import toy
from refusals import FINE_TUNE, KD, assert_matches, refusal
from unlabelled import relabelled

# --- flags ---

WEIGHTS_RULE = "allowed is a number of 0 or more"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--mixup-alpha", 0], "--mixup-alpha 0.0: allowed is a number above 0"),
        (["--mixup-alpha", -1], "--mixup-alpha -1.0: allowed is a number above 0"),
        (["--mixup-alpha", "nan"], "--mixup-alpha nan: allowed is a number above 0"),
        (["--mixup-alpha", "inf"], "--mixup-alpha inf: allowed is a number above 0"),
        (["--mixup-ratio", -1], "--mixup-ratio -1: allowed is 0 or more"),
        (["--mixup-ratio", 0, "--tmkd-weight", 0], "--mixup-ratio 0 .* --sm-weight 1"),
        (["--mixup-ratio", 0], "--mixup-ratio 0 .* --sm-weight 1 and --tmkd-weight 1"),
        (["--train-fraction", 0], r"--train-fraction 0.0: allowed is a number in \(0, 1\]"),
        (["--train-fraction", 1.1], r"--train-fraction 1.1: allowed is a number in \(0, 1\]"),
        (["--train-fraction", "nan"], r"--train-fraction nan: allowed is a number in \(0, 1\]"),
        (["--mle-weight", -0.5], f"--mle-weight -0.5: {WEIGHTS_RULE}"),
        (["--kd-weight", -1], f"--kd-weight -1.0: {WEIGHTS_RULE}"),
        (["--sm-weight", "nan"], f"--sm-weight nan: {WEIGHTS_RULE}"),
        (["--tmkd-weight", "inf"], f"--tmkd-weight inf: {WEIGHTS_RULE}"),
        ([*FINE_TUNE, "--mle-weight", 0], "--mle-weight, --kd-weight, --sm-weight, .* all 0"),
        (
            ["--distill-distance", "kl", "--distill-temperature", 0],
            "--distill-temperature 0.0: allowed is a number above 0",
        ),
        (
            ["--distill-distance", "ce", "--distill-temperature", -2],
            "--distill-temperature -2.0: allowed is a number above 0",
        ),
        (
            ["--distill-temperature", 2],
            "--distill-temperature 2.0: allowed is 1 for --distill-distance mse",
        ),
        (["--num-classes", 0], "--num-classes 0: allowed is 1 or more"),
        (["--num-classes", -1], "--num-classes -1: allowed is 1 or more"),
        (["--teacher-weights", "0.7:0.3"], "--teacher-weights 0.7:0.3: --teacher-path is missing"),
        (
            ["--report-pearson-and-spearman"],
            "--report-pearson-and-spearman is allowed with --regression",
        ),
        (["--arch", "roberta"], "--arch mixkd_roberta .* got --arch roberta"),
        (["--kd-weight", 1], "--teacher-path is missing: --kd-weight 1 and --tmkd-weight 1 need"),
        (["--sm-weight", 0], "--teacher-path is missing: --tmkd-weight 1 need"),
    ],
)
def test_flags(tmp_path, classification, flags, message):
    assert_matches(message, refusal(classification, tmp_path, *flags))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--distill-distance", "kl"], "--distill-distance kl: allowed is mse, where --regression"),
        (["--distill-distance", "ce"], "--distill-distance ce: allowed is mse, where --regression"),
        (["--report-mcc"], "--report-mcc is allowed without --regression-target"),
        (["--report-acc-and-f1"], "--report-acc-and-f1 is allowed without --regression-target"),
        (["--num-classes", 2], r"label/(valid|train).label, line 1: .* not 2 finite numbers"),
    ],
)
def test_flags_of_regression(tmp_path, regression, flags, message):
    flags = ["--num-classes", 1, "--regression-target", *flags]
    assert_matches(message, refusal(regression, tmp_path, *flags))


# --- the checkpoint that the student begins from ---


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--student-init-layers", "0,3"], "--student-init-layers 0,3: layer 3 does not exist"),
        (["--student-init-layers", "0"], "--student-init-layers 0: 1 layers for a student of 2"),
        (["--student-init-layers", "top"], "--student-init-layers 'top': allowed are first"),
        (["--encoder-embed-dim", 48], "--student-init-path .* width"),
        (["--encoder-layers", 4], "--student-init-path has 3 layers, the student has 4"),
        (["--max-positions", 32], "--student-init-path .* --max-positions"),
    ],
)
def test_student_initialisation(tmp_path, classification, teacher, flags, message):
    flags = [*FINE_TUNE, "--student-init-path", teacher, *flags]
    assert_matches(message, refusal(classification, tmp_path, *flags))


# --- data ---


@pytest.fixture
def data(tmp_path, classification):
    return toy.copy_data(classification, tmp_path / "data")


def test_no_labels_at_all(tmp_path, data):
    for file in (data / "label").iterdir():
        file.unlink()
    assert_matches("label/dict.txt does not exist", refusal(data, tmp_path / "s", *FINE_TUNE))


@pytest.mark.parametrize("split", ["train", "valid"])
def test_no_labels_of_a_split(tmp_path, data, split):
    for file in (data / "label").glob(f"{split}.*"):
        file.unlink()
    error = refusal(data, tmp_path / "s", *FINE_TUNE)
    assert_matches(f"no labels for split '{split}': .*label/{split}", error)


def test_no_data_folder(tmp_path):
    error = refusal(tmp_path / "nowhere", tmp_path / "s", *FINE_TUNE)
    assert_matches("nowhere/input0/dict.txt does not exist", error)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: lines[:-1], "number of samples|examples|labels"),
        (lambda lines: [*lines[:3], "", *lines[4:]], "example 3 has 0 labels instead of one"),
        (lambda lines: [*lines[:3], "0 1", *lines[4:]], "example 3 has 2 labels instead of one"),
        (lambda lines: [*lines[:3], "x", *lines[4:]], "example 3 has the label '<unk>'"),
    ],
)
@pytest.mark.parametrize("split", ["train", "valid"])
def test_labels_that_do_not_fit(tmp_path, data, split, change, message):
    lines = (data / "raw" / f"{split}.label").read_text().split("\n")[:-1]
    relabelled(data, split, change(lines))
    error = refusal(data, tmp_path / "s", *FINE_TUNE)
    assert split in error
    assert_matches(message, error)


def test_more_labels_than_classes(tmp_path):
    data = toy.make_data(tmp_path / "data", {"train": 24, "valid": 8}, labels=("0", "1", "2"))
    error = refusal(data, tmp_path / "s", *FINE_TUNE)
    assert_matches(r"has the label '2', which is not among the first 2 \(--num-classes\)", error)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: lines[:-1], "train"),
        (lambda lines: None, "no labels for split 'train': .*train.label does not exist"),
        (lambda lines: [lines[0], "", *lines[2:]], "line 2: '' is not 1 finite number"),
        (lambda lines: [lines[0], "high", *lines[2:]], "line 2: 'high' is not 1 finite number"),
        (lambda lines: [lines[0], "nan", *lines[2:]], "line 2: 'nan' is not 1 finite number"),
    ],
)
def test_regression_targets_that_do_not_fit(tmp_path, regression, change, message):
    data = toy.copy_data(regression, tmp_path / "data")
    path = data / "label" / "train.label"
    lines = change(path.read_text().split("\n")[:-1])
    path.unlink()
    if lines is not None:
        path.write_text("".join(f"{line}\n" for line in lines))
    flags = [*FINE_TUNE, "--num-classes", 1, "--regression-target"]
    assert_matches(message, refusal(data, tmp_path / "s", *flags))


def test_the_real_command_ends_with_the_message(tmp_path, classification):
    cases = [
        (["--mixup-alpha", 0], "--mixup-alpha 0.0"),
        ([*KD, "--teacher-path", tmp_path / "missing.pt"], "missing.pt does not exist"),
    ]
    commands = [
        ("fairseq_cli.train", *toy.train_flags(classification, tmp_path / "s", *flags))
        for flags, _ in cases
    ]
    results = forked.run(*commands)
    for (code, output), (_, message) in zip(results, cases):
        assert code != 0
        assert "ValueError" in output.splitlines()[-1] and message in output.splitlines()[-1]
        assert "train_inner" not in output
