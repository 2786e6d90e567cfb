"""Scores of predictions, from counts and values that add up over batches and processes."""

import math
from typing import Callable, Optional, Sequence

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score
from torch import Tensor

BINS = 15  # of confidence, for the calibration error


def count(found: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """How many of (n,) Booleans are True.

    Here and below, ``rows`` (n,) is a mask of the examples to count; None: all.
    """
    return (found if rows is None else found & rows).sum()


def predict(logits: Tensor, multi_label: bool) -> Tensor:
    """Class of each example (n,); of several labels (n, C), True for a probability above 1/2."""
    return logits > 0 if multi_label else logits.argmax(dim=1)


def equal_rows(predictions: Tensor, others: Tensor) -> Tensor:
    """(n,) True where an example's class, or all of its labels, are equal."""
    equal = predictions == others
    return equal if equal.dim() == 1 else equal.all(dim=1)


def confusion_counts(
    predictions: Tensor, targets: Tensor, num_classes: int, rows: Optional[Tensor] = None
) -> Tensor:
    """(C * C,) counts of (target, prediction) pairs, one row per target."""
    size = num_classes**2
    cells = targets * num_classes + predictions
    if rows is not None:
        cells = cells.masked_fill(~rows, size)
    return torch.bincount(cells, minlength=size + 1)[:size]


def matthews_corrcoef(confusion: np.ndarray) -> float:
    """Matthews correlation from (C, C) counts (Gorodkin 2004); 0 where undefined."""
    confusion = confusion.astype(float)  # products of integers could overflow
    targets, predictions = confusion.sum(1), confusion.sum(0)
    n = confusion.sum()
    covariance = np.trace(confusion) * n - targets @ predictions
    scale = math.sqrt((n**2 - predictions @ predictions) * (n**2 - targets @ targets))
    return covariance / scale if scale else 0.0


def classes_of_f1(names: Sequence[str]) -> slice:
    """Classes whose F1 is averaged: the one named ``1`` of two, else all of them (macro F1)."""
    if len(names) == 2 and "1" in names:
        return slice(names.index("1"), names.index("1") + 1)
    return slice(None)


def name_of_f1(names: Sequence[str]) -> str:
    """What tables call the F1 of these classes; training logs both as f1."""
    return "macro_f1" if classes_of_f1(names) == slice(None) else "f1"


def f1_counts(confusion: Tensor, classes: slice) -> Tensor:
    """(2 * K,) of K classes: how often each was hit, then how often targeted plus predicted."""
    size = math.isqrt(len(confusion))
    confusion = confusion.view(size, size)
    hits, sizes = confusion.diagonal(), confusion.sum(0) + confusion.sum(1)
    return torch.cat([hits[classes], sizes[classes]])


def f1_score(counts: np.ndarray) -> float:
    """F1, the mean over classes of 2 * hits / (targeted + predicted), from :func:`f1_counts`.

    A class that is neither targeted nor predicted is left out, as in scikit-learn.
    """
    hits, sizes = counts.reshape(2, -1)
    known = sizes > 0
    return float(np.mean(2 * hits[known] / sizes[known])) if known.any() else 0.0


def label_counts(predictions: Tensor, targets: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """(2 * C,) of several labels, (n, C) each: hits, then targeted plus predicted of each class."""
    predictions, targets = predictions.bool(), targets.bool()
    if rows is not None:
        predictions, targets = predictions & rows[:, None], targets & rows[:, None]
    return torch.cat([(predictions & targets).sum(0), predictions.sum(0) + targets.sum(0)])


def micro_f1_score(counts: np.ndarray) -> float:
    """F1 of all classes together, from :func:`label_counts`; :func:`f1_score` is the macro F1."""
    return f1_score(counts.reshape(2, -1).sum(axis=1))


def best_constant(targets: Tensor, multi_label: bool) -> float:
    """What one answer to all examples scores at best: the accuracy, or micro F1 of several labels.

    Args:
        targets: classes (n,), or labels of 0 and 1 (n, C)
    """
    if not multi_label:
        return torch.bincount(targets).max().item() / len(targets)
    counts = targets.sum(0).double().sort(descending=True).values
    predicted = len(targets) * torch.arange(1, len(counts) + 1)
    return (2 * counts.cumsum(0) / (counts.sum() + predicted)).max().item()


def least_learned(constant: float) -> float:
    """The least score of a model that has learned, in percent: 5 points above the best constant
    answer, or half of the way to 100 where less than 10 are left."""
    return constant + min(5.0, (100 - constant) / 2)


def mean_average_precision(values: np.ndarray) -> float:
    """The mean over C classes of values (n, 2 * C), logits and then labels of 0 and 1.

    A class that no example has is left out; nan without any other.
    """
    columns = [(t, s) for s, t in zip(*np.split(values.T, 2)) if t.any()]
    return float(np.mean([average_precision_score(*c) for c in columns])) if columns else math.nan


def pearson(values: np.ndarray) -> float:
    """The mean over C targets of values (n, 2 * C), predictions and then targets; nan for n < 2."""
    return _mean_correlation(pearsonr, values)


def spearman(values: np.ndarray) -> float:
    """:func:`pearson` of ranks."""
    return _mean_correlation(spearmanr, values)


def r_squared(values: np.ndarray) -> float:
    """The share of the targets' variance that predictions explain, of values as :func:`pearson`.

    1 for exact predictions, 0 for the mean as a constant answer; negative if they are worse.
    """
    predictions, targets = np.split(values, 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # nan, or -inf, of equal targets
        unexplained = np.square(predictions - targets).mean(axis=0) / targets.var(axis=0)
    return float(np.mean(1 - unexplained))


def _mean_correlation(correlation: Callable, values: np.ndarray) -> float:
    if len(values) < 2:  # scipy raises, and a batch may hold one example
        return math.nan
    columns = zip(*np.split(values.T, 2))
    return float(np.mean([correlation(p, t)[0] for p, t in columns]))


def correlation_values(
    predictions: Tensor, targets: Tensor, rows: Optional[Tensor] = None
) -> Tensor:
    """[prediction, target] of a batch's examples, (n, 2 * C)."""
    values = torch.cat([predictions.float(), targets.float()], dim=1)
    return values if rows is None else values[rows]


def calibration_gaps(logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """(BINS,) sums of confidence minus correctness, by the confidence of the prediction.

    Their absolute values over the number of examples are the expected calibration error (ECE) of
    Guo et al. (ICML 2017, equation 3), whose bins have equal width.
    """
    confidence, predictions = torch.softmax(logits.float(), dim=-1).max(dim=-1)
    bin_of_each = (confidence * BINS).long().clamp(0, BINS - 1)  # of nan: any integer
    gaps = confidence - (predictions == targets).float()
    gaps = gaps if rows is None else gaps.masked_fill(~rows, 0)
    return gaps.new_zeros(BINS).index_add(0, bin_of_each, gaps)
