"""Losses between a student's logits and gold or mixed labels, or a teacher's logits.

Each returns a scalar in float32 (or wider), *summed over rows*: the caller divides by its sample
size. Rows R, classes or regression targets C. Gradients reach the student alone.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

DISTANCES = ("mse", "kl", "ce")
_IGNORED = -100  # torch's own default


def _wide(x: Tensor) -> Tensor:
    """At least float32: sums of half-precision losses overflow or lose small terms."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def labelled_rows(targets: Tensor) -> Tensor:
    """True where there is a gold label: an index of 0 or more, or values (R, C) without a nan."""
    if targets.is_floating_point():
        return ~targets.isnan().any(dim=-1)
    return targets >= 0


def zero_unless(rows: Optional[Tensor], x: Tensor) -> Tensor:
    """x (R, ...) with zeros where ``rows`` (R,) is False; x itself where it is None."""
    if rows is None:
        return x
    return x.masked_fill(~rows.view(-1, *[1] * (x.dim() - 1)), 0)


def cross_entropy(logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """Cross-entropy with class indices (R,), or with soft labels (R, C) that sum to one.

    With indices it is fairseq's ``sentence_prediction`` loss, bit for bit. Only those of ``rows``,
    (R,) Boolean, count (None: all), in the sum and in its gradient.
    """
    log_probs = F.log_softmax(_wide(zero_unless(rows, logits)), dim=-1)
    if targets.dim() == 1:
        targets = targets if rows is None else targets.masked_fill(~rows, _IGNORED)
        return F.nll_loss(log_probs, targets, reduction="sum", ignore_index=_IGNORED)
    return -(zero_unless(rows, targets) * log_probs).sum()


def squared_error(logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """Squared error summed over rows, those of ``rows`` (None: all), and targets; both (R, C)."""
    logits, targets = zero_unless(rows, logits), zero_unless(rows, targets)
    return F.mse_loss(_wide(logits), _wide(targets), reduction="sum")


def distance(kind: str, student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Distance of the student's logits from the teacher's, both (R, C).

    Args:
        kind: ``mse``, squared error of the logits, averaged over the C of a row;
            ``kl``, Kullback-Leibler divergence KL(teacher || student), zero at equal arguments;
            ``ce``, cross-entropy under the teacher's probabilities: kl plus the teacher's
            entropy, so its gradient is kl's.
        temperature: T divides the logits in kl and ce, and the loss is multiplied by T squared, so
            that gradients keep their size (Hinton et al. 2015, section 2.1). mse has none.

    Raises:
        ValueError: for another kind.
    """
    student, teacher = _wide(student), _wide(teacher.detach())
    if kind == "mse":
        return F.mse_loss(student, teacher, reduction="sum") / student.size(-1)
    log_p = F.log_softmax(teacher / temperature, dim=-1)
    log_q = F.log_softmax(student / temperature, dim=-1)
    if kind == "kl":
        return F.kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2
    if kind == "ce":
        return -(log_p.exp() * log_q).sum() * temperature**2
    raise ValueError(f"unknown distance {kind!r}: allowed are {', '.join(DISTANCES)}")
