"""Seconds and speeds of models that take turns on the same batches."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .scoring import Batch

Logits = Callable[[Batch], Tensor]


def seconds_in_turns(
    models: Mapping[str, Logits], work: Mapping[str, Sequence[Sequence[Batch]]]
) -> dict[str, list[float]]:
    """Seconds of each round of each model, for its batches of that round in ``work``.

    In each round the order changes, so that other load on the machine slows all models equally.
    """
    labels, seconds = list(models), {label: [] for label in models}
    for turn in range(len(work[labels[0]])):
        first = turn % len(labels)
        for label in labels[first:] + labels[:first]:
            start = time.perf_counter()
            with torch.no_grad():
                for batch in work[label][turn]:
                    models[label](batch)
            seconds[label].append(time.perf_counter() - start)
    return seconds


def measure_speeds(
    models: Mapping[str, Logits], batches: Mapping[str, Sequence[Batch]], rounds: int
) -> dict[str, float]:
    """Sentences a second of each model: the median of rounds over up to nine of its batches."""
    some = {}
    for name in models:
        step = -(-len(batches[name]) // 9)
        some[name] = batches[name][step // 2 :: step]  # of all lengths
    work = {name: [its] * (rounds + 1) for name, its in some.items()}  # the first round warms up
    return {
        name: sum(len(batch["id"]) for batch in some[name]) / statistics.median(times[1:])
        for name, times in seconds_in_turns(models, work).items()
    }
