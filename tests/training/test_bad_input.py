"""Input that cannot be meant: one clear error, before the first update. Flags, student, data."""

import forked
import pytest
import toy
from refusals import FINE_TUNE, KD, assert_matches, refusal
from unlabelled import relabelled

# --- flags ---

ALONE = {  # values that are refused whatever the others are
    "--mixup-alpha": (0.0, -1.0, "nan", "inf"), "--mixup-ratio": (-1,),
    "--train-fraction": (0.0, 1.1, "nan"), "--num-classes": (0, -1), "--mle-weight": (-0.5,),
    "--kd-weight": (-1.0,), "--sm-weight": ("nan",), "--tmkd-weight": ("inf",),
    "--hidden-weight": ("nan",), "--distill-temperature": (2.0,),
}  # fmt: skip


@pytest.mark.parametrize(
    "flags, message",
    [
        *(([flag, v], f"{flag} must .*, got {v}") for flag, vs in ALONE.items() for v in vs),
        *((["--layer-norm-eps", eps], f"--layer-norm-eps must be > 0, got {eps}")
          for eps in (-1.0, 0.0, "nan", "inf")),
        (["--mixup-kind", "cut"], "--mixup-kind .* interpolate, splice, span.*, got cut"),
        (["--mixup-kind", "splice:"], "--mixup-kind .* interpolate, splice, span.*, got $"),
        (["--mixup-kind", "splice", "--shorten-method", "random_crop"],
         "--mixup-kind .* --shorten-method random_crop.*, got splice"),
        (["--mixup-ratio", 0, "--tmkd-weight", 0], "--mixup-ratio 0 .* --sm-weight 1"),
        (["--mixup-ratio", 0], "--mixup-ratio 0 .* --sm-weight 1 and --tmkd-weight 1"),
        ([*FINE_TUNE, "--mle-weight", 0], "--mle-weight.* must be > 0, got 0 for all"),
        (["--distill-distance", "kl", "--distill-temperature", 0],
         "--distill-temperature .*, got 0.0"),
        (["--distill-distance", "ce", "--distill-temperature", -2],
         "--distill-temperature .*, got -2.0"),
        (["--teacher-weights", "0.7:0.3"], "--teacher-weights 0.7:0.3 needs --teacher-path"),
        (["--report-pearson-and-spearman"],
         "--report-pearson-and-spearman must be given with --regression"),
        (["--arch", "roberta"], "--arch mixkd_roberta .* got --arch roberta"),
        (["--kd-weight", 1], "--teacher-path must be given for --kd-weight 1 and --tmkd-weight 1"),
        (["--sm-weight", 0], "--teacher-path must be given for --tmkd-weight 1"),
        ([*FINE_TUNE, "--hidden-weight", 1], "--teacher-path must be given for --hidden-weight 1"),
        ([*FINE_TUNE, "--mle-weight", 0, "--hidden-weight", 1],
         "--mle-weight.* must be > 0, got 0 for all"),
    ],
)  # fmt: skip
def test_flags(tmp_path, classification, flags, message):
    assert_matches(message, refusal(classification, tmp_path, *flags))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--distill-distance", "kl"], "--distill-distance .*, got kl"),
        (["--distill-distance", "ce"], "--distill-distance .*, got ce"),
        (["--report-mcc"], "--report-mcc must be given with one class .*, got --regression-target"),
        (["--report-acc-and-f1"],
         "--report-acc-and-f1 must be given with one class .*, got --regression-target"),
        (["--num-classes", 2], r"label/(valid|train).label, line 1: .* not 2 finite numbers"),
    ],
)  # fmt: skip
def test_flags_of_regression(tmp_path, regression, flags, message):
    flags = ["--num-classes", 1, "--regression-target", *flags]
    assert_matches(message, refusal(regression, tmp_path, *flags))


# --- the checkpoint that the student begins from ---


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--student-init-layers", "0,3"], "--student-init-layers 0,3: layer 3 does not exist"),
        (["--student-init-layers", "0"], "--student-init-layers 0: 1 layers for a student of 2"),
        (["--student-init-layers", "top"], "--student-init-layers must be first.*, got 'top'"),
        (["--encoder-embed-dim", 48], "--encoder-embed-dim must be at most 32, .*, got 48"),
        (["--encoder-embed-dim", 16, "--encoder-attention-heads", 1], "--encoder-attention-heads"),
        (["--encoder-layers", 4], "3 layers of --student-init-path, got 4"),
        (["--max-positions", 32], "--student-init-path .* --max-positions"),
    ],
)
def test_student_initialisation(tmp_path, classification, teacher, flags, message):
    flags = [*FINE_TUNE, "--student-init-path", teacher, *flags]
    assert_matches(message, refusal(classification, tmp_path, *flags))


def test_layers_of_nothing(tmp_path, classification):
    said = refusal(classification, tmp_path, *FINE_TUNE, "--student-init-layers", "spaced")
    assert_matches("--student-init-layers must be first .*, got spaced", said)


# --- data ---


def test_no_labels_at_all(tmp_path, data):
    for file in (data / "label").iterdir():
        file.unlink()
    assert_matches("label/dict.txt does not exist", refusal(data, tmp_path / "s", *FINE_TUNE))


def test_no_training_text_is_short_enough(tmp_path, classification):
    message = "--max-positions, .* must be >= 3, .* of the shortest .* 'train', got 2: .*truncate"
    assert_matches(message, refusal(classification, tmp_path, *FINE_TUNE, "--max-positions", 2))


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
        (lambda lines: [], "train.label must have a line for each of the 101 examples, got 0"),
        (lambda lines: None, "no labels for split 'train': .*train.label does not exist"),
        (lambda lines: [lines[0], "", *lines[2:]], "line 2: '' is not 1 finite number"),
        (lambda lines: [lines[0], "high", *lines[2:]], "line 2: 'high' is not 1 finite number"),
        (lambda lines: [lines[0], "nan", *lines[2:]], "line 2: 'nan' is not 1 finite number"),
        (lambda lines: [lines[0], "\udcff", *lines[2:]], "line 2: .* is not 1 finite number"),
    ],
)
def test_regression_targets_that_do_not_fit(tmp_path, regression, change, message):
    data = toy.copy_data(regression, tmp_path / "data")
    path = data / "label" / "train.label"
    lines = change(path.read_text().split("\n")[:-1])
    path.unlink()
    if lines is not None:
        path.write_text("".join(f"{line}\n" for line in lines), errors="surrogateescape")
    flags = [*FINE_TUNE, "--num-classes", 1, "--regression-target"]
    assert_matches(message, refusal(data, tmp_path / "s", *flags))


def test_the_real_command_ends_with_the_message(tmp_path, classification):
    cases = [
        (["--mixup-alpha", 0], "--mixup-alpha must be > 0"),
        ([*KD, "--teacher-path", tmp_path / "missing.pt"], "missing.pt does not exist"),
    ]
    commands = [
        ("fairseq_cli.train", *toy.train_flags(classification, tmp_path / str(i), *flags))
        for i, (flags, _) in enumerate(cases)
    ]
    results = forked.run(*commands)
    for (code, output), (_, message) in zip(results, cases):
        assert code != 0
        assert "ValueError" in output.splitlines()[-1] and message in output.splitlines()[-1]
        assert "train_inner" not in output
