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
from torch import Tensor


def count(found: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """How many of (n,) Booleans are True.

    Here and below, ``rows`` (n,) is a mask of the examples to count; None: all.
    """
    return (found if rows is None else found & rows).sum()


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


def log_correlations(values: List[Tensor]) -> None:
    """Add :func:`correlation_values` of batches; log correlations over all so far, in percent."""
    for aggregator in metrics.get_active_aggregators():
        if "_values" not in aggregator:
            aggregator.add_meter("_values", ConcatTensorMeter(), 10)
        elif not isinstance(aggregator["_values"], ConcatTensorMeter):  # of a checkpoint
            OrderedDict.__setitem__(aggregator, "_values", ConcatTensorMeter())
        aggregator["_values"].update(torch.cat(values).cpu())

    def score(m, *kinds):
        known = m["_values"].tensor.double().numpy()  # scipy sums in the type of its input
        return sum(mean_correlation(kind, known) for kind in kinds) / len(kinds)

    _log_percent("pearson", lambda m: score(m, pearsonr))
    _log_percent("spearman", lambda m: score(m, spearmanr))
    _log_percent("pearson_and_spearman", lambda m: score(m, pearsonr, spearmanr))


def _accumulate(name: str, counts: Tensor):
    """Add counts to the meter ``name``; return a function that reads their sums."""
    metrics.log_scalar(name, counts.double().cpu())
    return lambda m: m[name].sum.numpy()


def _log_percent(name: str, score) -> None:
    metrics.log_derived(name, lambda m: safe_round(100 * score(m), 1))
