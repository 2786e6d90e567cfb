"""Means, spreads and paired differences over seeds: numbers in, numbers out."""

import math
from typing import Dict, Hashable, Iterable, Mapping, NamedTuple, Optional, Set

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

Seeds = Mapping[int, float]


class Summary(NamedTuple):
    mean: float
    sd: Optional[float]  # of the sample; one value has none
    n: int

    @property
    def standard_error(self) -> float:
        return 0.0 if self.sd is None else self.sd / math.sqrt(self.n)


class Difference(NamedTuple):
    """Of two arms over the seeds that both have, with Student's t interval."""

    mean: float
    low: Optional[float]  # None with one seed, which has no interval
    high: Optional[float]
    n: int
    won: int  # seeds in which it is above zero

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and (self.low > 0 or self.high < 0)


class Pooled(NamedTuple):
    difference: Difference
    cells: int


def summarize(values: Iterable[float]) -> Summary:
    values = np.array(list(values), dtype=float)
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Summary(float(values.mean()), sd, len(values))


def paired_difference(ours: Seeds, theirs: Seeds) -> Optional[Difference]:
    """Ours minus theirs; None where no seed has both."""
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None
    differences = [ours[seed] - theirs[seed] for seed in common]
    mean, sd, n = summarize(differences)
    won = sum(difference > 0 for difference in differences)
    if sd is None:
        return Difference(mean, None, None, n, won)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    return Difference(mean, mean - half, mean + half, n, won)


def pooled_difference(
    ours: Mapping[Hashable, Seeds], theirs: Mapping[Hashable, Seeds]
) -> Optional[Pooled]:
    """The paired difference of means over cells.

    Every seed is averaged over the same cells, so that seeds differ by chance alone. Where some
    cells lack seeds, cells are left out, or seeds, whichever leaves more pairs.
    """
    common: Dict[Hashable, Set[int]] = {
        cell: set(ours[cell]) & set(theirs[cell]) for cell in ours if cell in theirs
    }
    most, best = 0, None
    for least in sorted({len(seeds) for seeds in common.values() if seeds}):
        cells = [cell for cell, seeds in common.items() if len(seeds) >= least]
        seeds = set.intersection(*(common[cell] for cell in cells))
        if len(cells) * len(seeds) > most:
            most, best = len(cells) * len(seeds), (cells, seeds)
    if best is None:
        return None
    cells, seeds = best
    means = [
        {seed: float(np.mean([table[cell][seed] for cell in cells])) for seed in seeds}
        for table in (ours, theirs)
    ]
    return Pooled(paired_difference(*means), len(cells))
