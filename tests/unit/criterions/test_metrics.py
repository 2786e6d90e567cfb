"""Metrics from counts against scikit-learn and scipy on the examples themselves."""

import numpy as np
import pytest
import torch
from fairseq.logging import metrics as fairseq_metrics
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sklearn_metrics

from mixkd_plugin import scores
from mixkd_plugin.criterions import metrics


def draw(num_classes, n=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(num_classes, (n,), generator=generator)
    noise = torch.randint(num_classes, (n,), generator=generator)
    keep = torch.rand(n, generator=generator) < 0.6
    return torch.where(keep, targets, noise), targets


def logged(log, batches):
    """Log each batch as fairseq does within an epoch, then read the values off."""
    fairseq_metrics.reset()
    with fairseq_metrics.aggregate() as meters:
        for batch in batches:
            log(*batch)
        return meters.get_smoothed_values()


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_mcc_over_batches_equals_sklearns_over_all(num_classes):
    predictions, targets = draw(num_classes)
    batches = [
        (scores.confusion_counts(p, t, num_classes),)
        for p, t in zip(predictions.split(37), targets.split(37))
    ]
    expected = 100 * sklearn_metrics.matthews_corrcoef(targets, predictions)
    assert logged(metrics.log_mcc, batches)["mcc"] == round(expected, 1)


def test_ece_over_batches_is_that_of_its_definition_over_all():
    _, targets = draw(3)
    logits = 3 * torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(1))
    parts = zip(logits.split(37), targets.split(37))
    batches = [(scores.calibration_gaps(x, t), len(t)) for x, t in parts]
    probabilities = logits.double().softmax(dim=1).numpy()
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets.numpy()
    expected = 0.0
    for low in np.linspace(0, 1, 16)[:-1]:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    assert logged(metrics.log_ece, batches)["ece"] == pytest.approx(100 * expected, abs=0.05001)


def test_a_sure_and_right_model_is_calibrated():
    gaps = scores.calibration_gaps(torch.tensor([[99.0, 0.0]]), torch.tensor([0]))
    assert gaps.abs().sum() == 0


def test_logits_that_are_no_numbers_have_no_calibration():
    gaps = scores.calibration_gaps(torch.tensor([[np.nan, 0.0]]), torch.tensor([0]))
    assert np.isnan(logged(metrics.log_ece, [(gaps, 1)])["ece"])


def test_mcc_of_a_constant_prediction_is_zero():
    assert scores.matthews_corrcoef(np.array([[3, 0], [4, 0]])) == 0


def test_mcc_of_many_examples():
    """Their counts' products do not fit into 64 bits."""
    million = np.array([[400_000, 100_000], [100_000, 400_000]])
    assert scores.matthews_corrcoef(million) == pytest.approx(0.6)


@pytest.mark.parametrize(
    "names, average, positive",
    [
        (["0", "1"], "binary", 1),
        (["1", "0"], "binary", 0),
        (["entailment", "not_entailment"], "macro", 1),
        (["a", "b", "1"], "macro", 1),
    ],
)
def test_f1_over_batches_equals_sklearns_over_all(names, average, positive):
    predictions, targets = draw(len(names))
    classes = scores.classes_of_f1(names)

    def log(p, t):
        fairseq_metrics.log_scalar("accuracy", 100 * (p == t).float().mean(), len(p))
        confusion = scores.confusion_counts(p, t, len(names))
        metrics.log_f1(scores.f1_counts(confusion, classes))

    values = logged(log, zip(predictions.split(37), targets.split(37)))
    f1 = sklearn_metrics.f1_score(targets, predictions, average=average, pos_label=positive)
    accuracy = (predictions == targets).double().mean()
    assert values["f1"] == round(100 * f1, 1)
    assert values["acc_and_f1"] == round(50 * (f1 + float(accuracy)), 1)


def test_correlations_are_over_the_split_and_averaged_over_targets():
    rng = np.random.RandomState(0)
    targets = rng.rand(50, 2)
    predictions = targets + rng.randn(50, 2) * [0.2, 1.0]
    batches = [
        scores.correlation_values(torch.tensor(predictions[cut]), torch.tensor(targets[cut]))
        for cut in (slice(0, 33), slice(33, 50))
    ]
    values = logged(metrics.log_correlations, [([batch],) for batch in batches])
    columns = list(zip(predictions.T, targets.T))
    pearson = 100 * np.mean([pearsonr(p, t)[0] for p, t in columns])
    spearman = 100 * np.mean([spearmanr(p, t)[0] for p, t in columns])
    assert values["pearson"] == pytest.approx(pearson, abs=0.051)
    assert values["spearman"] == pytest.approx(spearman, abs=0.051)
    assert values["pearson_and_spearman"] == pytest.approx((pearson + spearman) / 2, abs=0.051)


def test_correlation_of_one_example_is_undefined():
    one = scores.correlation_values(torch.ones(1, 2), torch.zeros(1, 2))
    assert np.isnan(logged(metrics.log_correlations, [([one],)])["pearson"])


def draw_labels(n=200, classes=4):
    """Logits and labels; the third class has no example, the last no prediction."""
    rng = np.random.RandomState(0)
    targets = (rng.rand(n, classes) < [0.3, 0.7, 0, 0.1]).astype(float)
    logits = (targets + rng.randn(n, classes) - 0.5).round(1) + [0, 0, -9, -9]  # some are equal
    return logits, targets


def parts(logits, targets):
    cuts = (slice(0, 33), slice(33, 150), slice(150, 150), slice(150, 200))
    return [(torch.tensor(logits[cut]), torch.tensor(targets[cut])) for cut in cuts]


def test_f1_of_several_labels_over_batches_equals_sklearns_over_all():
    logits, targets = draw_labels()
    batches = [
        (scores.label_counts(scores.predict(x, multi_label=True), t),)
        for x, t in parts(logits, targets)
    ]
    values = logged(metrics.log_label_f1, batches)
    for average in ("micro", "macro"):
        score = sklearn_metrics.f1_score(targets, logits > 0, average=average, zero_division=np.nan)
        assert values[f"{average}_f1"] == round(100 * score, 1) > 10


def test_subset_accuracy_is_sklearns():
    logits, targets = draw_labels()
    predictions = scores.predict(torch.tensor(logits), multi_label=True)
    found = scores.equal_rows(predictions, torch.tensor(targets)).double().mean()
    assert found == sklearn_metrics.accuracy_score(targets, logits > 0) > 0


def test_mean_average_precision_over_batches_is_that_of_its_definition_over_all():
    """The precision at each score, weighted with how much recall it adds, in classes with both."""
    logits, targets = draw_labels()
    batches = [([scores.correlation_values(x, t)],) for x, t in parts(logits, targets)]
    found = logged(metrics.log_average_precision, batches)["mean_average_precision"]
    averages = []
    for column, labels in zip(np.float32(logits).T, targets.T):
        total, reached = 0.0, 0.0
        for score in sorted(set(column), reverse=True):
            chosen = labels[column >= score]
            recall = chosen.sum() / max(labels.sum(), 1)
            total, reached = total + (recall - reached) * chosen.mean(), recall
        averages.append(total)
    assert not targets[:, 2].any()
    assert found == pytest.approx(100 * np.mean([averages[k] for k in (0, 1, 3)]), abs=0.0501)
    none = scores.correlation_values(torch.ones(2, 3), torch.zeros(2, 3))
    assert np.isnan(scores.mean_average_precision(none.double().numpy()))
