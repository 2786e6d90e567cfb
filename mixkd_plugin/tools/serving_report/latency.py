"""How long a served model takes for one text."""

import math
import time
from typing import Callable, Dict, List, Mapping, Sequence

from torch import Tensor

from ..scoring import Batch

SINGLE_TEXTS = 200  # whose latency is measured, one by one


def singles(batches: Sequence[Batch]) -> List[Batch]:
    """Batches of one text without padding, at even distances through the data folder."""
    rows = {}
    for batch in batches:
        texts = batch["net_input"]
        for number, tokens, length in zip(batch["id"], texts["src_tokens"], texts["src_lengths"]):
            rows[int(number)] = tokens[None, : int(length)]
    step = max(1, len(rows) // SINGLE_TEXTS)
    chosen = sorted(rows)[step // 2 :: step][:SINGLE_TEXTS]
    return [{"net_input": {"src_tokens": rows[number]}} for number in chosen]


def measure_latencies(
    models: Dict[str, Callable[[Batch], Tensor]], texts: Mapping[str, Sequence[Batch]]
) -> Dict[str, List[float]]:
    """Milliseconds of each text, all models on one text after another."""
    milliseconds: Dict[str, List[float]] = {label: [] for label in models}
    for label, logits in models.items():
        for text in texts[label][:10]:  # warm
            logits(text)
    labels = list(models)
    for turn in range(len(texts[labels[0]])):
        first = turn % len(labels)
        for label in labels[first:] + labels[:first]:  # nobody is always first
            start = time.perf_counter()
            models[label](texts[label][turn])
            milliseconds[label].append(1000 * (time.perf_counter() - start))
    return milliseconds


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
