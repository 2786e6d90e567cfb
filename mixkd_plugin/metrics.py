"""Metrics over a whole split, from logged values that add up over batches and processes.

Sums are kept in fairseq's own meters, under names that begin with ``_`` and so are not displayed:
a meter class of ours could be saved in a checkpoint but not loaded again.
"""

import math
from typing import List, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from fairseq.logging import metrics
from fairseq.logging.meters import safe_round
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from .losses import zero_unless


def confusion_counts(
    predictions: Tensor, targets: Tensor, num_classes: int, rows: Optional[Tensor] = None
) -> Tensor:
    """(C * C,) counts of (target, prediction) pairs, targets in rows.

    Here and below, only what ``rows`` (n,) has True is counted, and everything where it is None.
    """
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


def classes_of_f1(names: Sequence[str]) -> List[int]:
    """Classes whose F1 is averaged: the one named ``1`` of two, else all of them (macro F1)."""
    if len(names) == 2 and "1" in names:
        return [names.index("1")]
    return list(range(len(names)))


def f1_counts(confusion: Tensor, classes: List[int]) -> Tensor:
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


def correlations(predictions: np.ndarray, targets: np.ndarray):
    """(Pearson, Spearman), each averaged over the C targets; both arrays (n, C); nan for n = 1."""
    if len(targets) < 2:  # scipy raises, and a batch may hold one example
        return math.nan, math.nan
    columns = list(zip(predictions.T, targets.T))
    return tuple(
        float(np.mean([correlation(p, t)[0] for p, t in columns]))
        for correlation in (pearsonr, spearmanr)
    )


def correlation_values(
    predictions: Tensor,
    targets: Tensor,
    places: Optional[Tensor] = None,
    size: int = 0,
    rows: Optional[Tensor] = None,
) -> Tensor:
    """A batch's rows [prediction, target, 1], (n, 2 * C + 1); 0 for 1 in rows not to be counted.

    Or, for several processes, which log sums alone: each row in its example's place (n,) in the
    split, (size, 2 * C + 1), zero elsewhere.
    """
    values = torch.cat([predictions.float(), targets.float()], dim=1)
    values = zero_unless(rows, F.pad(values, (0, 1), value=1.0))
    if places is None:
        return values
    return values.new_zeros(size, values.size(1)).index_copy(0, places, values)


def calibration_gaps(
    logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None, bins: int = 15
) -> Tensor:
    """(bins,) sums of confidence minus correctness over rows, by the confidence of the prediction.

    Their absolute values over the number of rows are the expected calibration error (ECE) of Guo et
    al. (ICML 2017, equation 3), whose bins have equal width and number 15 by default.
    """
    confidence, predictions = torch.softmax(logits.float(), dim=-1).max(dim=-1)
    places = (confidence * bins).long().clamp(max=bins - 1)
    gaps = zero_unless(rows, confidence - (predictions == targets).float())
    return gaps.new_zeros(bins).index_add(0, places, gaps)


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
    rows = torch.cat([v[v[:, -1] > 0, :-1] for v in values])
    predictions, targets = rows.float().cpu().chunk(2, dim=1)
    metrics.log_concat_tensor("_pred", predictions)
    metrics.log_concat_tensor("_targ", targets)

    def both(m):
        return correlations(m["_pred"].tensor.numpy(), m["_targ"].tensor.numpy())

    _log_percent("pearson", lambda m: both(m)[0])
    _log_percent("spearman", lambda m: both(m)[1])
    _log_percent("pearson_and_spearman", lambda m: sum(both(m)) / 2)


def _accumulate(name: str, counts: Tensor):
    """Add counts to the meters ``name_0``, ...; return what reads their sums off again."""
    cells = [f"{name}_{i}" for i in range(len(counts))]
    for cell, count in zip(cells, counts.tolist()):
        metrics.log_scalar(cell, float(count))
    return lambda m: np.array([m[cell].sum for cell in cells])


def _log_percent(name: str, score) -> None:
    metrics.log_derived(name, lambda m: safe_round(100 * score(m), 1))
