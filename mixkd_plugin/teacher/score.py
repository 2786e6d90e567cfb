"""The teacher's score on validation examples: what tells wrong labels or texts from right ones."""

import logging
from typing import NamedTuple, Optional

from torch import Tensor

from .. import distributed, scores
from ..losses import labelled_rows
from .logits import TeacherLogits
from .sequences import TeacherSequences

logger = logging.getLogger(__name__)

EXAMPLES = 2000  # at most, of a split


WORST_R2 = -50.0  # in percent; of outputs on another scale than the labels it is below


class Score(NamedTuple):
    """In percent.

    constant: of the best constant answer, 0 for a regression
    r2: of a regression, see :func:`scores.r_squared`
    """

    metric: str
    value: float
    constant: float
    r2: Optional[float] = None


def log_score(
    teacher: TeacherLogits, sequences: TeacherSequences, regression: bool, multi_label: bool
) -> None:
    """Log the teacher's score on the examples of a split, and a warning if it is weak.

    The logits of a split that is not larger than EXAMPLES are kept, for its validation. All ranks
    call it.
    """
    if len(sequences.ids) == 0:
        return
    some = sequences.spread(EXAMPLES)
    if some is sequences:
        teacher.prepare_clean(sequences)
    found = score_of(teacher.clean(some), some.targets(), regression, multi_label)
    if found is None:
        return
    of_all = "" if some is sequences else f"{len(some.ids)} of the "
    logger.info(
        "teacher_%s %.1f on %s%d examples of split %s (best constant answer: %.1f)",
        *(found.metric, found.value, of_all, len(sequences.ids), sequences.split, found.constant),
    )
    reason = weakness(found, f"split {sequences.split!r}", "--teacher-labels", "--max-length")
    if reason and distributed.rank() == 0:
        logger.warning("--teacher-path %s", reason)


def score_of(
    logits: Tensor, targets: Tensor, regression: bool, multi_label: bool
) -> Optional[Score]:
    """Of the examples with a label; None without any.

    Args:
        logits: (n, C)
        targets: classes (n,), or values (n, C) of regression or labels
    """
    logits, targets = logits.float().cpu(), targets.cpu()
    targets = targets.view(len(logits), -1) if regression or multi_label else targets.flatten()
    labelled = labelled_rows(targets)
    if not labelled.any():
        return None
    logits, targets = logits[labelled], targets[labelled]
    if regression:
        values = scores.correlation_values(logits, targets).double().numpy()
        return Score("pearson", 100 * scores.pearson(values), 0.0, 100 * scores.r_squared(values))
    predictions = scores.predict(logits, multi_label)
    constant = 100 * scores.best_constant(targets, multi_label)
    if multi_label:
        counts = scores.label_counts(predictions, targets).numpy()
        return Score("micro_f1", 100 * scores.micro_f1_score(counts), constant)
    right = scores.equal_rows(predictions, targets).double().mean()
    return Score("accuracy", 100 * right.item(), constant)


def weakness(score: Score, where: str, labels: str, length: str) -> str:
    """What is wrong with a score that is hardly better than no model, and why; else empty.

    Args:
        where: the examples
        labels, length: the flags of the labels' order and of the longest text
    """
    least = scores.least_learned(score.constant)
    if score.value >= least and score.r2 is not None and score.r2 < WORST_R2:
        return (
            f"must have outputs on the scale of the labels, got a squared error on {where} of "
            f"{1 - score.r2 / 100:.1f} times the labels' variance: scale the labels as in its "
            "training (`mixkd encode --glue` divides those of STS-B by 5)"
        )
    if score.value >= least:
        return ""
    return (
        f"must have {score.metric} of at least {least:.1f} on {where}, where the best constant "
        f"answer has {score.constant:.1f}, got {score.value:.1f}: usual causes are another order "
        f"of the labels ({labels}), the two texts of a pair swapped (--text), a {length} that cuts "
        "what matters, and texts that were prepared otherwise in its training"
    )
