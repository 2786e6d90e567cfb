"""Paired times: every arm in turn, round after round, so that a busy spell strikes all of them."""

import statistics
import time
from typing import Callable, Dict, List, Sequence

import torch


def time_rounds(
    arms: Dict[str, Callable[[int], None]], rounds: int, cuda: bool, first: bool = False
) -> Dict[str, List[float]]:
    """Seconds of ``arm(round)``, {arm: one a round}.

    Round 0 warms up and is not timed. The order of the arms is turned round after each round. With
    ``first``, a turn begins with an untimed call: caches and memory are the arm's own again, as in
    a run of its own.
    """
    times: Dict[str, List[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        names = list(arms) if number % 2 == 0 else list(arms)[::-1]
        for name in names:
            if first:
                arms[name](number)
            start = _now(cuda)
            arms[name](number)
            seconds = _now(cuda) - start
            if number > 0:
                times[name].append(seconds)
    return times


def ratio(
    times: Dict[str, List[float]], above: Sequence[str], below: Sequence[str]
) -> tuple[float, float, float]:
    """The sum of some arms over the sum of others, round by round: median, least and most."""
    rounds = range(len(times[above[0]]))
    values = [sum(times[n][i] for n in above) / sum(times[n][i] for n in below) for i in rounds]
    return statistics.median(values), min(values), max(values)


def _now(cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()
