"""The loss of several labels for a text, term by term and example by example, without some."""

import pytest
import torch
import torch.nn.functional as F
from criterion_run import CLASSES, WEIGHTS, Run, weight_flags
from several_labels import make_data, write
from unlabelled import ALLOW


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 training examples, of which each third has no label."""
    data = make_data(tmp_path_factory.mktemp("several") / "data", {"train": 40, "valid": 20})
    lines = (data / "label" / "train.label").read_text().splitlines()
    rows = [line.split() if i % 3 else ["nan"] * CLASSES for i, line in enumerate(lines)]
    write(data, "train", rows)
    return data


@pytest.mark.parametrize("ratio", [1, 2])
def test_the_terms_are_those_of_labelled_examples_one_by_one(folder, ratio):
    flags = [*weight_flags(WEIGHTS), "--mixup-ratio", ratio, *ALLOW, "--multi-label"]
    run = Run(folder, False, *flags, "--distill-distance", "kl", "--distill-temperature", 2)
    sample, n = run.sample, len(run.sample["id"])
    clean, mixed = run.logits(run.student), run.logits(run.student, mixed=True)
    with torch.no_grad():
        taught = [run.logits(run.teacher_model, mixed=m) for m in (False, True)]
    y, y_other = sample["target"].float(), sample["partner"]["target"].float()
    assert y.shape == (n, CLASSES) and set(y[~y.isnan()].tolist()) == {0.0, 1.0}
    own, other = ~y.isnan()[:, 0], ~y_other.isnan()[:, 0]
    mle = sum(F.binary_cross_entropy_with_logits(clean[i], y[i]) for i in range(n) if own[i])
    sm = 0.0
    for m, lam in enumerate(sample["lam"].float()):
        if own[m % n] and other[m]:
            target = lam * y[m % n] + (1 - lam) * y_other[m]
            sm = sm + F.binary_cross_entropy_with_logits(mixed[m], target)
    kd, tmkd = (
        4 * torch.distributions.kl_divergence(
            *(torch.distributions.Bernoulli(logits=x / 2) for x in (teacher, student))
        ).mean(dim=1).sum()
        for student, teacher in zip((clean, mixed), taught)
    )  # fmt: skip
    sample_size, output = run.assert_loss([mle, kd, sm / ratio, tmkd / ratio])
    assert sample_size == n and output["nlabelled"] == own.sum() < n


def test_statistics_are_of_the_labelled_and_agreement_of_all(folder):
    flags = [*weight_flags((1, 1, 0, 0)), "--mixup-ratio", 0, *ALLOW, "--multi-label"]
    run = Run(folder, False, *flags)
    output = run.loss()[2]
    with torch.no_grad():
        student, teacher = (run.logits(m) > 0 for m in (run.student, run.teacher_model))
    target = run.sample["target"].float()
    own = ~target.isnan()[:, 0]
    gold = target[own].bool()
    assert output["ncorrect"] == sum(torch.equal(*pair) for pair in zip(student[own], gold))
    assert output["teacher_ncorrect"] == sum(torch.equal(*pair) for pair in zip(teacher[own], gold))
    assert output["agreed"] == sum(torch.equal(*pair) for pair in zip(student, teacher))
    hits, sizes = output["label_counts"].view(2, CLASSES)
    assert torch.equal(hits, (student[own] & gold).sum(0))
    assert torch.equal(sizes, student[own].sum(0) + gold.sum(0))
