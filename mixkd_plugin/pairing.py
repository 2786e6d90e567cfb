"""The plan of mixes: who is mixed with whom, and with which weight, as data.

Pure functions of their arguments, so that one process or sixty-four, a straight run or a resumed
one, mix the same pairs. Randomness comes from ``numpy.random.RandomState``, whose streams numpy
has frozen for good: a plan is the same under every numpy version.
"""

from typing import NamedTuple

import numpy as np

PAIRINGS = ("random", "length")

# Partners by length are drawn within runs of this many examples of neighbouring lengths: wide
# enough to vary from epoch to epoch, narrow enough that a mix pads next to nothing.
LENGTH_BUCKET = 64

# Keep the streams of one seed apart from each other.
_PAIRS, _WEIGHTS, _SUBSET, _ORDER = range(4)


class MixupPlan(NamedTuple):
    """Partners (n, ratio) as positions in 0..n-1, and the examples' weights lam (n, ratio)."""

    partners: np.ndarray
    lam: np.ndarray


def _stream(seed: int, *key: int) -> np.random.RandomState:
    return np.random.RandomState([seed % 2**32, *key])


def draw_plan(
    lengths: np.ndarray,
    ratio: int,
    alpha: float,
    pairing: str,
    seed: int,
    epoch: int,
    period: int = 0,
) -> MixupPlan:
    """Draw the mixes of one epoch.

    Args:
        lengths: (n,) tokens of each example; only ``pairing="length"`` looks at the values
        ratio: mixed rows per example
        alpha: lam ~ Beta(alpha, alpha), drawn for each mixed row
        pairing: ``random``, any other example; ``length``, one of similar length
        period: the mixes of an epoch return after so many epochs; 0 is never

    Each column of partners is a permutation, so that every example serves as partner equally
    often, and none is its own partner (but where there is only one example).
    """
    if period > 0:
        epoch = (epoch - 1) % period + 1
    n = len(lengths)
    partners = np.empty((n, ratio), dtype=np.int64)
    for k in range(ratio):
        rng = _stream(seed, epoch, _PAIRS, k)
        shuffled = rng.permutation(n)
        if pairing == "random":
            rings = [shuffled]
        else:
            order = shuffled[np.argsort(lengths[shuffled], kind="stable")]
            # the first cut moves, so that bucket borders differ from epoch to epoch
            first = rng.randint(1, LENGTH_BUCKET + 1)
            rings = [rng.permutation(b) for b in _buckets(order, first)]
        for ring in rings:  # each example's partner is the next one in its ring
            partners[ring, k] = np.roll(ring, -1)
    lam = _stream(seed, epoch, _WEIGHTS).beta(alpha, alpha, size=(n, ratio))
    return MixupPlan(partners, lam)


def _buckets(order: np.ndarray, first: int):
    buckets = np.split(order, range(first, len(order), LENGTH_BUCKET))
    for at in (0, -1):  # a lone example at either end would be its own partner
        if len(buckets) > 1 and len(buckets[at]) == 1:
            lone = buckets.pop(at)
            buckets[at] = np.concatenate([lone, buckets[at]])
    return buckets


def stratified_subset(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose a random part of a training split, of the same class proportions.

    Args:
        labels: (n,) class of each example; for regression, zeros; -1 without a label
        fraction: part to keep, in (0, 1]; at least one example of each class is kept,
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
    """Positions by increasing length, equal lengths in an order drawn anew for each epoch."""
    shuffled = _stream(seed, epoch, _ORDER).permutation(len(lengths))
    return shuffled[np.argsort(lengths[shuffled], kind="stable")]
