"""What jobs left behind: the log of `fairseq-train --log-format json`, checkpoints, comparisons."""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from ..safe_reading import read_checkpoint
from .scoring import count_layers

LINE = re.compile(r"\| INFO \| (\w+) \| (\{.*\})$")
PART = re.compile(r"training on (\d+) of (\d+) examples")
# Of all that fairseq logs, what it says about the model.
MEASURES = [
    *("loss", "mle_loss", "kd_loss", "accuracy", "ece", "f1", "acc_and_f1", "mcc"),
    *("pearson", "spearman", "pearson_and_spearman", "teacher_accuracy", "agreement"),
]


class TrainingLog(NamedTuple):
    curve: List[Dict[str, Any]]  # a point per validation: updates, epoch, and measures by split
    updates: int
    examples_seen: int  # clean ones, each time
    examples: int  # in the training part; 0 where the whole split is meant


def read_log(text: str) -> TrainingLog:
    """The measures of every validation, which may include the training split.

    fairseq names lines after the split, also those about an epoch's training: these know `lr`.
    """
    points: Dict[int, Dict[str, Any]] = {}
    epochs: List[Tuple[int, float]] = []  # of training: updates, mean batch
    updates = 0
    for tag, record in _records(text):
        if f"{tag}_lr" in record:
            now = int(record[f"{tag}_num_updates"])
            epochs.append((now - updates, float(record[f"{tag}_bsz"])))
            updates = now
        elif f"{tag}_num_updates" in record:
            now = int(record[f"{tag}_num_updates"])
            point = points.setdefault(now, {"updates": now, "epoch": int(record["epoch"])})
            point[tag] = {
                key: float(record[f"{tag}_{key}"]) for key in MEASURES if f"{tag}_{key}" in record
            }
    curve = [points[now] for now in sorted(points)]
    part = PART.search(text)
    examples = int(part.group(1)) if part else 0
    return TrainingLog(curve, updates, _seen(epochs, examples), examples)


def _seen(epochs: List[Tuple[int, float]], examples: int) -> int:
    """Examples of all epochs: where one was whole exactly, for the mean of a batch is rounded."""
    seen = 0
    for i, (updates, mean) in enumerate(epochs):
        whole = i < len(epochs) - 1 or (i > 0 and updates == epochs[0][0])
        seen += examples if whole and examples else round(mean * updates)
    return seen


def _records(text: str):
    for line in text.splitlines():
        found = LINE.search(line)
        if found:
            yield found.group(1), json.loads(found.group(2))


def size_of(checkpoint: Path) -> Dict[str, int]:
    """Layers, parameters and bytes of a student or teacher: what serving it needs."""
    tensors = read_checkpoint(str(checkpoint))["model"]
    names = [name for name in tensors if not name.endswith(".version")]
    distinct = {tensors[name].data_ptr(): tensors[name] for name in names}.values()  # some are tied
    return {
        "layers": count_layers(names),
        "parameters": sum(t.numel() for t in distinct),
        "bytes": sum(t.numel() * t.element_size() for t in distinct),
    }


def scored(folder: Path) -> Dict[str, float]:
    """The quality of the one checkpoint in a comparison, by the names of our training logs."""
    models = json.loads((folder / "compare.json").read_text())["models"]
    values = {key: v for key, v in models["teacher"].items() if key in MEASURES}
    for mean, parts in (("acc_and_f1", ("accuracy", "f1")),
                        ("pearson_and_spearman", ("pearson", "spearman"))):  # fmt: skip
        if all(part in values for part in parts):
            values[mean] = sum(values[part] for part in parts) / 2
    return values
