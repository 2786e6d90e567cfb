"""The plan of mixes: the partner of each example, and the weights.

Pure functions of their arguments, so that the pairs are equal for any number of processes and after
resuming. Random numbers come from ``numpy.random.RandomState``, whose streams never change: a plan
is equal in all versions of numpy.
"""

from functools import partial
from typing import Callable, NamedTuple, Optional

import numpy as np

from ..registry import Registry

# Partners by length are drawn within runs of this many examples of similar lengths: enough
# examples to vary between epochs, few enough for nearly no padding.
LENGTH_BUCKET = 64

# Separate random streams of one seed.
_PAIRS, _WEIGHTS, _SUBSET, _ORDER, _KINDS = range(5)


class Examples(NamedTuple):
    """The input of a pairing rule, about the n examples that can be mixed in a run.

    ids: (n,) their positions in the binarised split
    lengths: (n,) tokens
    labels: (n,) class, -1 without a label; for regression 0, or -1
    """

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


class MixupPlan(NamedTuple):
    """Partners (n, ratio) as positions in 0..n-1, and the examples' weights lam (n, ratio).

    With other kinds of mix than interpolation also the kind of each mix, (n, ratio), as a position
    in their list, and two random numbers of it in [0, 1), (n, ratio, 2).
    """

    partners: np.ndarray
    lam: np.ndarray
    kinds: Optional[np.ndarray] = None
    cuts: Optional[np.ndarray] = None

    def of_split(self, ids: np.ndarray, places: np.ndarray, count: int) -> "MixupPlan":
        """The plan of ``count`` examples: this one at ``places`` (n,), and zeros elsewhere.

        ``ids`` (n,) are the positions of this plan's examples in the split, which partners become.
        """

        def spread(values: np.ndarray) -> np.ndarray:
            of_all = np.zeros((count, *values.shape[1:]), dtype=values.dtype)
            of_all[places] = values
            return of_all

        plan = self._replace(partners=ids[self.partners])
        return MixupPlan(*(None if values is None else spread(values) for values in plan))


# (examples, random numbers) -> (n,) the partner of each, as a position in 0..n-1
PairingRule = Callable[[Examples, np.random.RandomState], np.ndarray]

PAIRINGS: Registry[PairingRule] = Registry("--mixup-pairing")


def register_pairing(name: str):
    """Decorate a function that is to be ``--mixup-pairing NAME``.

    ``function(examples, rng)``: :class:`Examples` of n, and a ``numpy.random.RandomState`` that is
    seeded for the epoch, and for the column where an example is mixed several times. It returns
    each example's partner, (n,) integers in 0..n-1, and depends only on its arguments: every
    process draws separately.

    Raises:
        ValueError: if the name is taken; at the start of an epoch, for other results.
    """

    return partial(PAIRINGS.register, name)


def _stream(seed: int, *key: int) -> np.random.RandomState:
    return np.random.RandomState([seed % 2**32, *key])


def draw_plan(
    examples: Examples,
    ratio: int,
    alpha: float,
    pairing: str,
    seed: int,
    epoch: int,
    period: int = 0,
    kinds: int = 0,
) -> MixupPlan:
    """Draw the mixes of one epoch.

    Args:
        ratio: mixes per example
        alpha: lam ~ Beta(alpha, alpha), drawn for each mix
        pairing: ``random``, any other example; ``length``, one of similar length; or a registered
            rule
        period: the plan repeats every ``period`` epochs; 0: never
        kinds: of mix, from which each mix's is drawn; 0: all are interpolations

    With ``random`` and ``length`` each column of partners is a permutation, so that every example
    serves as partner equally often, and none is its own partner (but where there is only one).

    Raises:
        ValueError: if the rule is unknown, or its results are not valid partners.
    """
    if period > 0:
        epoch = (epoch - 1) % period + 1
    n = len(examples.lengths)
    partners = np.empty((n, ratio), dtype=np.int64)
    for k in range(ratio):
        partners[:, k] = _partners(pairing, examples, (seed, epoch, _PAIRS, k))
    lam = _stream(seed, epoch, _WEIGHTS).beta(alpha, alpha, size=(n, ratio))
    if not kinds:
        return MixupPlan(partners, lam)
    rng = _stream(seed, epoch, _KINDS)
    return MixupPlan(partners, lam, rng.randint(kinds, size=(n, ratio)), rng.rand(n, ratio, 2))


def _partners(pairing: str, examples: Examples, key) -> np.ndarray:
    rule, n = PAIRINGS.find(pairing), len(examples.lengths)
    # Twice: a rule with other random numbers would give other mixes in each process, and cached
    # teacher logits would belong to other mixes.
    partners, again = (np.asarray(rule(examples, _stream(*key))) for _ in range(2))
    if partners.shape != (n,) or partners.dtype.kind not in "iu":
        found = f"{partners.dtype} of shape {partners.shape}"
    elif n and not (partners.min() >= 0 and partners.max() < n):
        found = f"{partners.min()} to {partners.max()}"
    elif not np.array_equal(partners, again):
        found = "other partners when called again"
    else:
        return partners
    raise ValueError(
        f"--mixup-pairing {pairing}: the rule must give positions 0 to {n - 1}, integers of shape "
        f"({n},), that depend on its arguments alone, got {found}"
    )


def _next_in(rings) -> np.ndarray:
    """Each example's partner is the next one in its cycle."""
    partners = np.empty(sum(map(len, rings)), dtype=np.int64)
    for ring in rings:
        partners[ring] = np.roll(ring, -1)
    return partners


@register_pairing("random")
def _at_random(examples: Examples, rng: np.random.RandomState) -> np.ndarray:
    return _next_in([rng.permutation(len(examples.lengths))])


@register_pairing("length")
def _by_length(examples: Examples, rng: np.random.RandomState) -> np.ndarray:
    shuffled = rng.permutation(len(examples.lengths))
    order = shuffled[np.argsort(examples.lengths[shuffled], kind="stable")]
    # the first cut moves, so that bucket borders differ from epoch to epoch
    first = rng.randint(1, LENGTH_BUCKET + 1)
    return _next_in([rng.permutation(b) for b in _buckets(order, first)])


def _buckets(order: np.ndarray, first: int):
    buckets = np.split(order, range(first, len(order), LENGTH_BUCKET))
    for at in (0, -1):  # a single example at an end would be its own partner
        if len(buckets) > 1 and len(buckets[at]) == 1:
            lone = buckets.pop(at)
            buckets[at] = np.concatenate([lone, buckets[at]])
    return buckets


def stratified_subset(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose a random subset of a training split with the same class proportions.

    Args:
        labels: (n,) class of each example; for regression, zeros; -1 without a label
        fraction: share to keep, in (0, 1]; at least one example of each class is kept,
            and of those without a label

    Returns:
        increasing positions. Nested: with one seed, a smaller fraction is inside a larger one.
    """
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[_stream(seed, int(label) % 2**32, _SUBSET).permutation(len(members))]
        kept.append(members[: max(1, int(round(fraction * len(members))))])
    return np.sort(np.concatenate(kept))


def order_by_length(lengths: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Positions by increasing length, equal lengths in a random order for each epoch."""
    shuffled = _stream(seed, epoch, _ORDER).permutation(len(lengths))
    return shuffled[np.argsort(lengths[shuffled], kind="stable")]
