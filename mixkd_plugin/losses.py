"""Losses between a student's logits and clean or mixed labels, or a teacher's logits.

Each returns a scalar in float32 or float64, *summed over sequences*: the caller divides by its
sample size. R sequences, C classes or regression targets. Only the student gets gradients.
"""

from typing import Callable, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import Registry

_IGNORED = -100  # torch's own default
_TINY = 1e-20


class LossWeights(NamedTuple):
    """Weights of the terms: L = mle L_MLE + kd L_KD + sm L_SM + tmkd L_TMKD + hidden L_HIDDEN."""

    mle: float = 0.0
    kd: float = 0.0
    sm: float = 0.0
    tmkd: float = 0.0
    hidden: float = 0.0

    @classmethod
    def of(cls, criterion: Mapping[str, float]) -> "LossWeights":
        """The weights in a criterion's configuration; 0 for those that it lacks."""
        return cls(*(criterion.get(f"{term}_weight", 0.0) for term in cls._fields))

    def any_positive(self, *terms: str) -> bool:
        """Whether one of these terms has a weight above 0."""
        return any(getattr(self, term) > 0 for term in terms)

    @property
    def need_mixes(self) -> bool:
        return self.any_positive("sm", "tmkd")

    @property
    def need_clean(self) -> bool:
        """Whether a term is of the clean examples."""
        return self.any_positive("mle", "kd")

    def flags(self, *terms: str) -> str:
        """The terms with a weight above 0, as flags with their values."""
        given = [term for term in self._fields if term in terms and self.any_positive(term)]
        return " and ".join(f"--{term}-weight {getattr(self, term):g}" for term in given)


TERMS = LossWeights._fields


def _wide(x: Tensor) -> Tensor:
    """At least float32: sums of half-precision losses overflow or lose small terms."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def labelled_rows(targets: Tensor) -> Tensor:
    """True where there is a label: an index of 0 or more, or values (R, C) without a nan."""
    if targets.is_floating_point():
        return ~targets.isnan().any(dim=-1)
    return targets >= 0


def zero_unless(rows: Optional[Tensor], x: Tensor) -> Tensor:
    """x (R, ...) with zeros where ``rows`` (R,) is False; x itself for None."""
    if rows is None:
        return x
    return x.masked_fill(~rows.view(-1, *[1] * (x.dim() - 1)), 0)


def cross_entropy(logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """Cross-entropy with class indices (R,), or with soft labels (R, C) that sum to one.

    With indices it is fairseq's ``sentence_prediction`` loss, bit for bit. ``rows``, (R,)
    Boolean, are those that count (None: all), in the sum and in its gradient.
    """
    log_probs = F.log_softmax(_wide(zero_unless(rows, logits)), dim=-1)
    if targets.dim() == 1:
        targets = targets if rows is None else targets.masked_fill(~rows, _IGNORED)
        return F.nll_loss(log_probs, targets, reduction="sum", ignore_index=_IGNORED)
    return -(zero_unless(rows, targets) * log_probs).sum()


def squared_error(logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """Squared error, (R, C) both, summed over targets and ``rows`` (None: all)."""
    logits, targets = zero_unless(rows, logits), zero_unless(rows, targets)
    return F.mse_loss(_wide(logits), _wide(targets), reduction="sum")


def binary_cross_entropy(logits: Tensor, targets: Tensor, rows: Optional[Tensor] = None) -> Tensor:
    """Binary cross-entropy with multi-hot labels, (R, C) both, or a mix of them.

    Averaged over classes, as transformers does for several labels, and summed over ``rows`` (None:
    all).
    """
    logits, targets = _wide(zero_unless(rows, logits)), _wide(zero_unless(rows, targets))
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return zero_unless(rows, losses).sum() / logits.size(-1)


class Distance(NamedTuple):
    """``function`` takes the logits of student and teacher, and the temperature if it has one.

    It returns a scalar, summed over sequences. ``of_softmax``: it compares distributions over the
    classes.
    """

    function: Callable[..., Tensor]
    has_temperature: bool
    of_softmax: bool = False


DISTANCES: Registry[Distance] = Registry("--distill-distance")


def register_distance(name: str, has_temperature: bool = False):
    """Decorate a function that is to be ``--distill-distance NAME``.

    ``function(student, teacher)``, or ``function(student, teacher, temperature)`` where it has one:
    logits (R, C), at least float32, to the distance of each sequence (R,). A mean over a batch
    would be wrong, since batch sizes differ between processes and updates.

    Args:
        name: value of ``--distill-distance``
        has_temperature: whether it uses ``--distill-temperature``; the function itself multiplies
            by T squared

    Raises:
        ValueError: if the name is taken; in training, if it returns another shape.
    """

    def register(function):
        def summed(student: Tensor, teacher: Tensor, *temperature: float) -> Tensor:
            rows = function(student, teacher, *temperature)
            if rows.shape != student.shape[:1]:
                raise ValueError(
                    f"--distill-distance {name} must return one value per sequence, of shape "
                    f"{tuple(student.shape[:1])}, got {tuple(rows.shape)}"
                )
            return rows.sum()

        DISTANCES.register(name, Distance(summed, has_temperature))
        return function

    return register


def distance(
    kind: str, student: Tensor, teacher: Tensor, temperature: float = 1.0, multi_label: bool = False
) -> Tensor:
    """Distance of the student's logits from the teacher's, both (R, C).

    Args:
        kind: ``mse``, ``kl``, ``ce``, or a registered one
        temperature: T, for those that have one
        multi_label: the classes are independent: ``kl`` and ``ce`` compare "yes" and "no" of each,
            and are averaged over C

    Raises:
        ValueError: for another kind.
    """
    function, has_temperature, of_softmax = DISTANCES.find(kind)
    student, teacher = _wide(student), _wide(teacher.detach())
    arguments = [temperature] if has_temperature else []
    if multi_label and of_softmax:
        return function(_yes_and_no(student), _yes_and_no(teacher), *arguments) / student.size(-1)
    return function(student, teacher, *arguments)


def hidden_distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Distance of hidden states of each sequence, (R,): after each layer of the student, from those
    after the teacher's layer of the same relative depth.

    The squared error of a token's state, divided by the teacher's squared state, so that a weight
    means the same for any encoder; averaged over tokens and layers (all tokens as in TinyBERT, Jiao
    et al., 2020; of states of length 1 as in PKD, Sun et al., 2019).

    Args:
        student, teacher: states (R, T, D) after each layer, zero at padding

    Raises:
        ValueError: for another width.
    """
    if student[0].size(-1) != teacher[0].size(-1):
        raise ValueError(
            "--hidden-weight must be 0 for a student of another width than its teacher's, got "
            f"{student[0].size(-1)} and {teacher[0].size(-1)}"
        )
    total = 0
    for at, own in enumerate(student, start=1):
        layer = max(1, round(at * len(teacher) / len(student)))
        target = _wide(teacher[layer - 1].detach())
        length = min(own.size(1), target.size(1))  # the rest is padding
        own, target = _wide(own[:, :length]), target[:, :length]
        size = target.square().sum(dim=-1)
        # zero at padding, and where the teacher's states were not finite
        error = (own - target).square().sum(dim=-1).masked_fill(size == 0, 0)
        error = error / size.clamp(min=_TINY)
        total = total + error.sum(dim=1) / (size > 0).sum(dim=1).clamp(min=1)
    return total / len(student)


def _yes_and_no(logits: Tensor) -> Tensor:
    """(R, C) -> (R * C, 2), whose softmax is [sigmoid, 1 - sigmoid]."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1).flatten(0, -2)


# Ours are summed by one kernel of torch.


def _mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of the logits, averaged over C."""
    return F.mse_loss(student, teacher, reduction="sum") / student.size(-1)


def _log_probs(student: Tensor, teacher: Tensor, temperature: float) -> Tuple[Tensor, Tensor]:
    """T divides the logits, and the loss is multiplied by T squared, so that gradients keep their
    size (Hinton et al. 2015, section 2.1)."""
    return tuple(F.log_softmax(logits / temperature, dim=-1) for logits in (student, teacher))


def _kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence KL(teacher || student), zero at equal arguments."""
    log_q, log_p = _log_probs(student, teacher, temperature)
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2


def _ce(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy under the teacher: kl plus the teacher's entropy, so its gradient is kl's."""
    log_q, log_p = _log_probs(student, teacher, temperature)
    return -(log_p.exp() * log_q).sum() * temperature**2


DISTANCES.register("mse", Distance(_mse, has_temperature=False))
DISTANCES.register("kl", Distance(_kl, has_temperature=True, of_softmax=True))
DISTANCES.register("ce", Distance(_ce, has_temperature=True, of_softmax=True))
