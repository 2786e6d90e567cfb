"""fairseq's own flags that end badly beside ours: one sentence, before an epoch is lost."""

from unittest.mock import Mock

import inprocess
import pytest
import torch
import toy
from refusals import FINE_TUNE, KD, refusal
from slow_cases import slow

from mixkd_plugin.criterions.mixkd import MixKDCriterion
from mixkd_plugin.fairseq_fixes.refused_flags import check_processes
from mixkd_plugin.tasks.steps import stop_where_not_finite


@pytest.mark.parametrize(
    "flag",
    [
        ["--write-checkpoints-asynchronously"],
        ["--spectral-norm-classification-head"],
        ["--mha-heads-to-keep", 2],
        ["--ffn-blocks-to-remove", 8],
        ["--encoder-layers-to-keep", "0,1"],
        ["--d2v2-multi"],
    ],
)
def test_flags_that_cannot_be_served(tmp_path, classification, flag):
    text = refusal(classification, tmp_path, *FINE_TUNE, *flag)
    assert text.startswith(f"{' '.join(map(str, flag))} must be left out")
    assert not list(tmp_path.glob("*.pt"))


def test_our_criterion_needs_our_task(tmp_path, classification):
    flags = toy.train_flags(classification, tmp_path, task="sentence_prediction")
    wanted = "--criterion mixkd needs --task mixkd_sentence_prediction, or one that extends it, got"
    with pytest.raises(ValueError, match=f"^{wanted} --task sentence_prediction$"):
        inprocess.start_training([*flags, "--criterion", "mixkd"])


BART = ["--arch", "bart_base", "--encoder-layers", 1, "--decoder-layers", 1]


@pytest.mark.parametrize("flags", [KD, ["--tmkd-weight", 0]], ids=["kd", "mixes"])
def test_an_encoder_and_decoder_is_no_student(tmp_path, classification, teacher, flags):
    flags = [*flags, *BART, "--add-prev-output-tokens", "--teacher-path", teacher]
    text = refusal(classification, tmp_path, *flags)
    assert "needs a student" in text or "need a student" in text
    assert text.endswith("got --arch bart_base")


@pytest.mark.parametrize("teaches", [False, True])
def test_a_student_on_the_cpu_has_no_teacher(tmp_path, classification, teacher, teaches):
    more = [*KD, "--teacher-path", teacher] if teaches else FINE_TUNE
    config = inprocess.training_config(toy.train_flags(classification, tmp_path, *more))
    config.distributed_training.cpu_offload = True
    if not teaches:
        return check_processes(config)
    with pytest.raises(ValueError, match="--cpu-offload must be left out with --teacher-path"):
        check_processes(config)


# --- --best-checkpoint-metric ---

CLASSES = ["--report-mcc", "--report-acc-and-f1"]
TARGETS = ["--num-classes", 1, "--regression-target"]
CORRELATIONS = [*TARGETS, "--report-pearson-and-spearman"]
SOURCES = ("classification", "teacher"), ("regression", "regression_teacher")


@pytest.mark.parametrize(
    "flags, source, distilled",
    [
        (CLASSES, SOURCES[0], True),
        (CORRELATIONS, SOURCES[1], False),
        *slow(([], SOURCES[0], False), (TARGETS, SOURCES[1], True)),
    ],
)
def test_the_metrics_that_an_error_names_are_those_that_are_logged(
    tmp_path, request, flags, source, distilled
):
    data, teacher = map(request.getfixturevalue, source)
    flags = [*(KD if distilled else FINE_TUNE), *flags]
    flags += ["--teacher-path", teacher] if distilled else []
    text = refusal(data, tmp_path, *flags, "--best-checkpoint-metric", "mnc")
    start, end = "--best-checkpoint-metric must be one of ", ", which this run logs in validation"
    assert text.startswith(start) and text.endswith("got mnc")
    named = set(text[len(start) : text.index(end)].split(", "))
    flags += ["--max-update", 1]
    log = toy.fit(data, tmp_path, *flags)
    (line,) = [line for line in log.splitlines() if "valid on 'valid' subset | " in line]
    assert named == {part.split()[0] for part in line.split(" | ")[4:]}, line


def test_without_validation_any_metric_will_do(tmp_path, classification):
    flags = [*FINE_TUNE, "--best-checkpoint-metric", "mcc", "--disable-validation"]
    toy.fit(classification, tmp_path, *flags, "--max-update", 1)


@pytest.mark.parametrize("metric, flag", [("accuracy", []), ("loss", ["--maximize"])])
def test_the_worst_checkpoint_is_not_kept_without_a_word(tmp_path, classification, metric, flag):
    flags = ["--best-checkpoint-metric", metric, *(f"{f}-best-checkpoint-metric" for f in flag)]
    log = toy.fit(classification, tmp_path, *FINE_TUNE, *flags, "--max-update", 1)
    assert log.count("keeps the worst checkpoint") == 1


def test_a_criterion_that_logs_more(tmp_path, classification, monkeypatch):
    """One that extends ours declares it, or is warned."""
    flags = [*FINE_TUNE, "--best-checkpoint-metric", "mine", "--max-update", 1]
    flags = toy.train_flags(classification, tmp_path, *flags)
    names = MixKDCriterion.validation_metrics
    with monkeypatch.context() as patch:
        patch.setattr(MixKDCriterion, "validation_metrics", lambda c: {*names(c), "mine"})
        with pytest.raises(KeyError, match="mine"):  # which it then does not log
            inprocess.run_training(flags)
    monkeypatch.setattr(MixKDCriterion, "__module__", "theirs")
    with pytest.raises(KeyError, match="mine"):
        inprocess.run_training(flags)


# --- a student that diverges ---


@pytest.mark.parametrize("precision", [[], *slow(["--bf16"], ["--amp"])])
def test_a_learning_rate_that_is_too_large(tmp_path, classification, precision):
    with pytest.raises(ValueError) as error:
        toy.fit(classification, tmp_path, *FINE_TUNE, "--lr", 1e30, *precision)
    text = str(error.value)
    assert text.startswith("update 2: the student's gradients are not finite numbers")
    assert "lower --lr (now 1e+30)" in text and "\n" not in text


NORMS = "gradients are inconsistent between workers.\nrank   0 = {:.8f}\nrank   1 = {:.8f}"


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("gradients are Nan/Inf", True),
        (NORMS.format(float("nan"), float("nan")), True),
        (NORMS.format(1.0, float("inf")), True),
        (NORMS.format(1.0, 2.0), False),
        ("Minimum loss scale reached (128)", False),
    ],
)
def test_gradients_of_several_gpus_that_are_not_finite(text, ours):
    """fairseq calls norms of nan inconsistent, and blames the GPUs."""
    optimizer = Mock(get_lr=lambda: 0.5)
    with pytest.raises(ValueError if ours else FloatingPointError) as error:
        try:
            raise FloatingPointError(text)
        except FloatingPointError:
            stop_where_not_finite(torch.nn.Linear(1, 1), optimizer, 3)
    assert ("lower --lr (now 0.5)" if ours else text) in str(error.value)


def test_regression_targets_that_are_too_large(tmp_path, regression):
    data = toy.copy_data(regression, tmp_path / "data")
    path = data / "label" / "train.label"
    path.write_text("1e30\n" * len(path.read_text().splitlines()))
    with pytest.raises(ValueError, match=r"update \d: .* check for very large regression targets"):
        toy.fit(data, tmp_path / "run", *FINE_TUNE, *TARGETS)


def test_fairseqs_message_about_its_loss_scale_stays(tmp_path, classification):
    """On a CPU fairseq fails at any other overflow."""
    flags = ["--fp16", "--fp16-no-flatten-grads", "--min-loss-scale", 128, "--lr", 1e10]
    with pytest.raises(FloatingPointError, match="Minimum loss scale reached"):
        toy.fit(classification, tmp_path, *FINE_TUNE, *flags)
