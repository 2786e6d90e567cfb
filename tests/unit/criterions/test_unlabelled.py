"""Examples without a gold label: the teacher's terms alone, in the loss and in what is logged."""

import random

import pytest
import torch
import torch.nn.functional as F
import toy
from criterion_run import CLASSES, WEIGHTS, Run, weight_flags
from fairseq.logging import metrics
from unlabelled import ALLOW, without

from mixkd_plugin.criterions import mixkd


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """40 training examples, 16 of them without a label."""
    root, sizes = tmp_path_factory.mktemp("unlabelled"), {"train": 40, "valid": 20}
    hidden = set(random.Random(1).sample(range(40), 16))
    classes = toy.make_data(root / "classes", sizes, labels=("0", "1", "2"))
    values = toy.make_data(root / "values", sizes, targets=CLASSES)
    return {False: without(classes, False, hidden), True: without(values, True, hidden)}


def known(sample):
    target = sample["target"].view(len(sample["id"]), -1)
    return [
        bool((row >= 0).all())
        for row in target.nan_to_num(-1.0 if target.is_floating_point() else 0)
    ]


def terms(run, regression):
    """The four terms example by example, those of the labels over the labelled alone."""
    sample, n = run.sample, len(run.sample["id"])
    clean, mixed = run.logits(run.student), run.logits(run.student, mixed=True)
    with torch.no_grad():
        t_clean, t_mixed = (run.logits(run.teacher_model, mixed=m) for m in (False, True))
    own, other = known(sample), known(sample["partner"])
    ratio = len(other) // n
    y, y_other = sample["target"], sample["partner"]["target"]

    def label_loss(logits, target):
        if regression:
            return ((logits - target.float().view(-1)) ** 2).sum()
        return F.cross_entropy(logits[None], target.view(1))

    mle = sum(label_loss(clean[i], y[i]) for i in range(n) if own[i])
    sm = 0.0
    for m, lam in enumerate(sample["lam"].float()):
        i = m % n
        if own[i] and other[m]:
            if regression:
                sm = sm + label_loss(mixed[m], lam * y[i] + (1 - lam) * y_other[m])
            else:
                sm = sm + lam * label_loss(mixed[m], y[i])
                sm = sm + (1 - lam) * label_loss(mixed[m], y_other[m])
    scale = 1 if regression else CLASSES
    kd, tmkd = (((a - b) ** 2).sum() / scale for a, b in ((clean, t_clean), (mixed, t_mixed)))
    return [mle, kd, sm / ratio, tmkd / ratio], (own, other)


def gradients(loss, run):
    found = torch.autograd.grad(loss, list(run.student.parameters()), allow_unused=True)
    return [g for g in found if g is not None]


@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("regression", [False, True])
def test_the_terms_and_gradients_of_the_labels_are_those_of_labelled_rows(
    folders, regression, ratio
):
    flags = [*weight_flags(WEIGHTS), "--mixup-ratio", ratio, *ALLOW]
    run = Run(folders[regression], regression, *flags)
    loss, sample_size, output = run.loss()
    expected, (own, other) = terms(run, regression)
    pairs = [a and b for a, b in zip(own * ratio, other)]
    assert 0 < sum(own) < 8 and 0 < sum(pairs) < sum(own) * ratio
    assert sample_size == (8 * CLASSES if regression else 8)  # fairseq's: every row
    assert output["nlabelled"] == sum(own)
    for name, value in zip(("mle", "kd", "sm", "tmkd"), expected):
        torch.testing.assert_close(output[f"{name}_loss"], value.detach(), rtol=1e-4, atol=1e-5)
    total = sum(w * value for w, value in zip(WEIGHTS, expected))
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients(loss, run), gradients(total, run), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("regression", [False, True])
def test_fine_tuning_sees_the_labelled_alone(folders, regression):
    """The same loss and gradient as on a batch of the labelled examples, without the flag."""
    flags = [*weight_flags((1, 0, 0, 0)), "--mixup-ratio", 0, "--padding-free", "off"]
    run = Run(folders[regression], regression, *flags, *ALLOW)
    loss = run.loss()[0]
    found = gradients(loss, run)
    own = torch.tensor(known(run.sample))
    run.sample["target"] = run.sample["target"][own]
    run.sample["net_input"]["src_tokens"] = run.sample["net_input"]["src_tokens"][own]
    run.sample["net_input"]["src_lengths"] = run.sample["net_input"]["src_lengths"][own]
    run.sample["id"] = run.sample["id"][own]
    run.criterion.unlabelled = False
    alone = run.loss()[0]
    torch.testing.assert_close(loss, alone)
    torch.testing.assert_close(found, gradients(alone, run), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("regression", [False, True])
def test_no_gradient_passes_where_there_is_no_label(folders, regression):
    """Not even a nan of the logits does."""
    run = Run(folders[regression], regression, *weight_flags((1, 0, 1, 0)), *ALLOW)
    labels = run.criterion._labels(run.sample)
    partners = run.criterion._labels(run.sample["partner"])
    mixed = run.criterion._mixed_labels(labels, partners, run.sample["lam"])
    for g in (labels, mixed):
        logits = torch.randn(8, CLASSES).masked_fill(~g.labelled_mask[:, None], float("nan"))
        logits.requires_grad_()
        loss = run.criterion._label_loss(logits, g)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and (gradient[~g.labelled_mask] == 0).all()
        assert (gradient[g.labelled_mask] != 0).all()


def test_statistics_are_of_the_labelled_and_agreement_of_all(folders):
    flags = [*weight_flags((1, 1, 0, 0)), "--mixup-ratio", 0]
    run = Run(folders[False], False, *flags, *ALLOW, "--report-mcc", "--report-acc-and-f1")
    output = run.loss()[2]
    with torch.no_grad():
        student = run.logits(run.student).argmax(1)
        teacher = run.logits(run.teacher_model).argmax(1)
    own, target = torch.tensor(known(run.sample)), run.sample["target"].view(-1)
    assert output["ncorrect"] == (student == target)[own].sum()
    assert output["teacher_ncorrect"] == (teacher == target)[own].sum()
    assert output["agreed"] == (student == teacher).sum()
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.long)
    for t, p in zip(target[own], student[own]):
        counts[t, p] += 1
    assert torch.equal(output["confusion"].view(CLASSES, CLASSES), counts)
    assert output["f1_counts"][CLASSES:].sum() == 2 * own.sum()


def test_accuracy_has_the_right_denominator_over_updates():
    """Updates with no label at all count for nothing, and break nothing."""
    one = dict(loss=torch.tensor(1.0), sample_size=4, nsentences=4, agreed=torch.tensor(2))
    logs = [
        {**one, "ncorrect": torch.tensor(c), "nlabelled": n} for c, n in ((3, 4), (0, 0), (0, 1))
    ]
    with metrics.aggregate(new_root=True) as values:
        for log in logs:
            mixkd.MixKDCriterion.reduce_metrics([log])
    assert values["accuracy"].avg == 60.0
    assert values["agreement"].avg == 50.0
