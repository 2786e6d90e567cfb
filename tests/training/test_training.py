"""Runs with everything on, through each way in that fairseq has."""

import re

import inprocess
import pytest
import toy
from slow_cases import slow
from toy import TERMS

KD = ["--kd-weight", 1]


def test_everything_on_logs_every_term(distilled):
    train = toy.last_values(distilled.log, "train")
    valid = toy.last_values(distilled.log, "valid")
    for values in (train, valid):
        assert {"loss", "accuracy", "teacher_accuracy", "agreement"} <= values.keys()
        assert 0 <= values["agreement"] <= 100 and 30 < values["teacher_accuracy"] <= 100
    assert train["loss"] == pytest.approx(sum(w * train[t] for t, w in TERMS.items()), abs=0.003)
    assert all(0 < train[term] < 10 for term in TERMS)
    assert valid["loss"] == valid["mle_loss"] and valid["kd_loss"] > 0
    assert "training on 51 of 101 examples" in distilled.log  # half of each class
    assert "student initialised from layers [0, 1]" in distilled.log
    assert (
        len(re.findall(r"teacher .*: [\d,]+ parameters, torch.float32 on cpu", distilled.log)) == 2
    )


def test_a_student_comes_to_agree_with_its_teacher_on_clean_and_mixed_texts(
    tmp_path, classification, teacher
):
    flags = [*KD, "--teacher-path", teacher, "--mle-weight", 0, "--sm-weight", 0]
    flags += ["--max-epoch", 12, "--lr", 0.01, "--distill-distance", "kl"]
    log = toy.fit(classification, tmp_path, *flags)
    lines = re.findall(r".*\| train \| epoch.*", log)
    first, last = (toy.last_values(line, "train") for line in (lines[0], lines[-1]))
    for term in ("kd_loss", "tmkd_loss"):
        assert last[term] < 0.5 * first[term]
    assert last["agreement"] > 80


@pytest.mark.slow
def test_regression_learns_from_the_teacher_alone(tmp_path, regression, regression_teacher):
    flags = ["--num-classes", 1, "--regression-target", "--mle-weight", 0, "--sm-weight", 0]
    flags += [*KD, "--teacher-path", regression_teacher, "--max-epoch", 12, "--lr", 0.01]
    data = toy.copy_data(regression, tmp_path / "data")
    labels = data / "label" / "train.label"
    labels.write_text("".join("1000\n" for _ in labels.read_text().splitlines()))
    log = toy.fit(data, tmp_path / "student", *flags)
    values = toy.last_values(log, "train")
    assert values["kd_loss"] < 0.2 and values["tmkd_loss"] < 0.2
    assert values["mle_loss"] > 1e5


@pytest.mark.parametrize(
    "flags, rows",
    [
        (["--mixup-ratio", 2, "--mle-weight", 0, "--kd-weight", 0], lambda b, m: m),
        *slow(
            ([], lambda b, m: b + m),
            (["--mixup-ratio", 3, "--padding-free", "off"], lambda b, m: b + m),
            (["--mixup-pairing", "length", "--batch-by-length", "off"], lambda b, m: b + m),
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_max_tokens_bounds_what_the_device_sees(tmp_path, classification, teacher, flags, rows):
    """Rows, clean and mixed, padded to the longest of examples and partners."""
    sizes = []

    def watch(trainer, batches):
        for batch in batches:
            own, partners = (b["net_input"]["src_tokens"].shape for b in (batch, batch["partner"]))
            sizes.append(rows(own[0], partners[0]) * max(own[1], partners[1]))

    flags = toy.train_flags(classification, tmp_path, *KD, "--teacher-path", teacher, *flags)
    at = flags.index("--batch-size")
    flags[at : at + 2] = ["--max-tokens", 120, "--required-batch-size-multiple", 1]
    flags += ["--max-epoch", 1]
    log = inprocess.run_training(flags, watch)
    assert 90 < max(sizes) <= 120 and len(sizes) > 7
    assert toy.last_values(log, "train")["tmkd_loss"] > 0


@pytest.mark.parametrize(
    "flags, given",
    [
        (["--tmkd-weight", 0], 20),
        (["--tmkd-weight", 0], 10),  # fairseq drops texts of so many tokens
        # how long two splices are together depends on the epoch
        (["--mle-weight", 0, "--sm-weight", 0, "--mixup-kind", "splice", "--mixup-ratio", 2], 27),
    ],
)
def test_an_example_of_more_than_max_tokens(tmp_path, classification, teacher, flags, given):
    said = f"--max-tokens must be >= 28, got {given}: .* split 'train'"
    flags = [*flags, "--teacher-path", teacher]
    with pytest.raises(ValueError, match=said):
        toy.fit(classification, tmp_path, *flags, "--max-tokens", given)
