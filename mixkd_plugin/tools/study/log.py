"""What jobs left behind: the log of `fairseq-train --log-format json`, and comparisons."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

LINE = re.compile(r"\| INFO \| (\w+) \| (\{.*\})$")
# Of all that fairseq logs, what it says about the model.
MEASURES = [
    *("loss", "mle_loss", "kd_loss", "accuracy", "ece", "f1", "acc_and_f1", "mcc"),
    *("pearson", "spearman", "pearson_and_spearman", "teacher_accuracy", "agreement"),
]


class TrainingLog(NamedTuple):
    curve: List[Dict[str, Any]]  # a point per validation: updates, epoch, and measures by split
    updates: int
    examples_seen: int  # clean ones, each time
    examples: int  # in the training part


def read_log(text: str) -> TrainingLog:
    """The measures of every validation, which may include the training split.

    fairseq names lines after the split, also those about an epoch's training: these know `lr`. A
    resumed run logs again what it does again; the later line counts.
    """
    points: Dict[int, Dict[str, Any]] = {}
    seen: Dict[int, int] = {}  # in each epoch
    updates = examples = 0
    for tag, record in _records(text):
        if f"{tag}_lr" in record:
            updates = int(record[f"{tag}_num_updates"])
            examples = int(float(record[f"{tag}_examples"]))
            seen[int(record["epoch"])] = int(float(record[f"{tag}_examples_seen"]))
        elif f"{tag}_num_updates" in record:
            now = int(record[f"{tag}_num_updates"])
            point = points.setdefault(now, {"updates": now, "epoch": int(record["epoch"])})
            point[tag] = {
                key: float(record[f"{tag}_{key}"]) for key in MEASURES if f"{tag}_{key}" in record
            }
    curve = [points[now] for now in sorted(points)]
    return TrainingLog(curve, updates, sum(seen.values()), examples)


def _records(text: str) -> Iterator[Tuple[str, Dict[str, Any]]]:
    for line in text.splitlines():
        found = LINE.search(line)
        if found:
            with contextlib.suppress(ValueError):  # a warning may have been written into it
                yield found.group(1), json.loads(found.group(2))


def scored(folder: Path) -> Dict[str, float]:
    """The quality of the one checkpoint in a comparison, by the names of our training logs."""
    models = json.loads((folder / "compare.json").read_text())["models"]
    values = {key: v for key, v in models["teacher"].items() if key in MEASURES}
    for mean, parts in (("acc_and_f1", ("accuracy", "f1")),
                        ("pearson_and_spearman", ("pearson", "spearman"))):  # fmt: skip
        if all(part in values for part in parts):
            values[mean] = sum(values[part] for part in parts) / 2
    return values
