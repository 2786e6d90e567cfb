"""Examples without a gold label: the teacher's terms alone, in the loss and in what is logged."""

import math
import random

import pytest
import torch
import toy
from criterion_run import CLASSES, WEIGHTS, Run, labelled, weight_flags
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


@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("regression", [False, True])
def test_the_terms_and_gradients_of_the_labels_are_those_of_labelled_rows(
    folders, regression, ratio
):
    flags = [*weight_flags(WEIGHTS), "--mixup-ratio", ratio, *ALLOW]
    run = Run(folders[regression], regression, *flags)
    own, other = labelled(run.sample), labelled(run.sample["partner"])
    pairs = [a and b for a, b in zip(own * ratio, other)]
    assert 0 < sum(own) < 8 and 0 < sum(pairs) < sum(own) * ratio
    sample_size, output = run.assert_loss(run.terms(regression))
    assert sample_size == (8 * CLASSES if regression else 8)  # fairseq's: every row
    assert output["nlabelled"] == sum(own)


@pytest.mark.parametrize("regression", [False, True])
def test_fine_tuning_sees_the_labelled_alone(folders, regression):
    """The same loss and gradient as on a batch of the labelled examples, without the flag."""
    flags = [*weight_flags((1, 0, 0, 0)), "--mixup-ratio", 0, "--padding-free", "off"]
    run = Run(folders[regression], regression, *flags, *ALLOW)
    loss = run.loss()[0]
    found = run.gradients(loss)
    own = torch.tensor(labelled(run.sample))
    run.sample["target"] = run.sample["target"][own]
    run.sample["net_input"]["src_tokens"] = run.sample["net_input"]["src_tokens"][own]
    run.sample["net_input"]["src_lengths"] = run.sample["net_input"]["src_lengths"][own]
    run.sample["id"] = run.sample["id"][own]
    run.criterion.unlabelled = False
    alone = run.loss()[0]
    torch.testing.assert_close(loss, alone)
    torch.testing.assert_close(found, run.gradients(alone), rtol=1e-4, atol=1e-6)


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
    own, target = torch.tensor(labelled(run.sample)), run.sample["target"].view(-1)
    assert output["ncorrect"] == (student == target)[own].sum()
    assert output["teacher_ncorrect"] == (teacher == target)[own].sum()
    assert output["agreed"] == (student == teacher).sum()
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.long)
    for t, p in zip(target[own], student[own]):
        counts[t, p] += 1
    assert torch.equal(output["confusion"].view(CLASSES, CLASSES), counts)
    assert output["f1_counts"][CLASSES:].sum() == 2 * own.sum()


@pytest.mark.parametrize("regression", [False, True])
def test_the_loss_of_a_validation_is_a_mean_over_the_labelled(folders, regression):
    """Of the training split: the gap to the validation split's would be too large."""
    run = Run(folders[regression], regression, *weight_flags((1, 1, 1, 0)), *ALLOW)
    own = labelled(run.sample)
    mle, kd, *_ = run.terms(regression)
    run.student.eval()
    output = run.criterion(run.student, run.task.complete(run.sample)[0])[2]
    with metrics.aggregate(new_root=True) as values:
        run.criterion.reduce_metrics([output])
    targets = CLASSES if regression else 1
    means = {"loss": mle / sum(own), "mle_loss": mle / sum(own), "kd_loss": kd / len(own)}
    for key, mean in means.items():
        expected = mean.item() / targets / math.log(2)
        assert values[key].avg.item() == pytest.approx(expected, rel=1e-4), key


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
