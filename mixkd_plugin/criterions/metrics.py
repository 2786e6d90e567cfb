"""Metrics over a full split, from logged values that add up over batches and processes.

Logged values are kept in meters whose names begin with ``_`` and so are not displayed.
"""

import math
from collections import OrderedDict
from typing import Callable, List, Optional, Sequence

import numpy as np
import torch
from fairseq.logging import meters, metrics
from fairseq.logging.meters import safe_round
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score
from torch import Tensor


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


def mean_average_precision(values: np.ndarray) -> float:
    """The mean over C classes of values (n, 2 * C), logits and then labels of 0 and 1.

    A class that no example has is left out; nan without any other.
    """
    columns = [(t, s) for s, t in zip(*np.split(values.T, 2)) if t.any()]
    return float(np.mean([average_precision_score(*c) for c in columns])) if columns else math.nan


class ConcatTensorMeter(meters.ConcatTensorMeter):
    """fairseq's, but in linear time, and without values in checkpoints.

    Checkpoints have a meter's class by name, and load fairseq's own.
    """

    def reset(self) -> None:
        self._parts: List[Tensor] = []

    def update(self, val: Tensor) -> None:
        self._parts.append(val)

    @property
    def tensor(self) -> Tensor:
        return torch.cat(self._parts, dim=self.dim)

    def state_dict(self) -> dict:
        return {"tensor": None}


def mean_correlation(correlation: Callable, values: np.ndarray) -> float:
    """The mean over C targets of values (n, 2 * C), predictions and then targets; nan for n < 2."""
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


def calibration_gaps(
    logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None, bins: int = 15
) -> Tensor:
    """(bins,) sums of confidence minus correctness, by the confidence of the prediction.

    Their absolute values over the number of examples are the expected calibration error (ECE) of
    Guo et al. (ICML 2017, equation 3), whose bins have equal width and number 15 by default.
    """
    confidence, predictions = torch.softmax(logits.float(), dim=-1).max(dim=-1)
    bin_of_each = (confidence * bins).long().clamp(max=bins - 1)
    gaps = confidence - (predictions == targets).float()
    gaps = gaps if rows is None else gaps.masked_fill(~rows, 0)
    return gaps.new_zeros(bins).index_add(0, bin_of_each, gaps)


def log_ece(gaps: Tensor, rows: int) -> None:
    """Add a batch's :func:`calibration_gaps`; log the ECE of all so far, in percent."""
    total = _accumulate("_calibration", gaps)
    metrics.log_scalar("_calibration_rows", float(rows))
    _log_percent("ece", lambda m: np.abs(total(m)).sum() / max(m["_calibration_rows"].sum, 1))


def log_mcc(confusion: Tensor) -> None:
    """Add a batch's (C * C,) counts; log the Matthews correlation of all so far, in percent."""
    size = math.isqrt(len(confusion))
    total = _accumulate("_confusion", confusion)
    _log_percent("mcc", lambda m: matthews_corrcoef(total(m).reshape(size, size)))


def log_f1(counts: Tensor) -> None:
    """Add a batch's :func:`f1_counts`; log F1 of all so far, and its mean with accuracy."""
    total = _accumulate("_f1_counts", counts)
    _log_percent("f1", lambda m: f1_score(total(m)))
    _log_percent("acc_and_f1", lambda m: (float(m["accuracy"].avg) / 100 + f1_score(total(m))) / 2)


def log_label_f1(counts: Tensor) -> None:
    """Add a batch's :func:`label_counts`; log micro and macro F1 of all so far, in percent."""
    total = _accumulate("_label_counts", counts)
    _log_percent("micro_f1", lambda m: micro_f1_score(total(m)))
    _log_percent("macro_f1", lambda m: f1_score(total(m)))


def log_average_precision(values: List[Tensor]) -> None:
    """Add :func:`correlation_values` of batches; log the mean average precision, in percent."""
    known = _collect("_scores", values)
    _log_percent("mean_average_precision", lambda m: mean_average_precision(known(m)))


def log_correlations(values: List[Tensor]) -> None:
    """Add :func:`correlation_values` of batches; log correlations over all so far, in percent."""
    known = _collect("_values", values)

    def score(m, *kinds):
        return sum(mean_correlation(kind, known(m)) for kind in kinds) / len(kinds)

    _log_percent("pearson", lambda m: score(m, pearsonr))
    _log_percent("spearman", lambda m: score(m, spearmanr))
    _log_percent("pearson_and_spearman", lambda m: score(m, pearsonr, spearmanr))


def _collect(name: str, values: List[Tensor]):
    """Add all values to the meter ``name``; return a function that reads them, in float64."""
    for aggregator in metrics.get_active_aggregators():
        if name not in aggregator:
            aggregator.add_meter(name, ConcatTensorMeter(), 10)
        elif not isinstance(aggregator[name], ConcatTensorMeter):  # of a checkpoint
            OrderedDict.__setitem__(aggregator, name, ConcatTensorMeter())
        aggregator[name].update(torch.cat(values).cpu())
    return lambda m: m[name].tensor.double().numpy()  # scipy sums in the type of its input


def _accumulate(name: str, counts: Tensor):
    """Add counts to the meter ``name``; return a function that reads their sums."""
    metrics.log_scalar(name, counts.double().cpu())
    return lambda m: m[name].sum.numpy()


def _log_percent(name: str, score) -> None:
    metrics.log_derived(name, lambda m: safe_round(100 * score(m), 1))
