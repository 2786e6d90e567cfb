"""Reads the log of `fairseq-train --log-format json`, and comparisons."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

LINE = re.compile(r"\| INFO \| (\w+) \| (\{.*\})$", re.MULTILINE)
# The logged values that describe the model.
MEASURES = [
    *("loss", "mle_loss", "kd_loss", "accuracy", "ece", "f1", "acc_and_f1", "mcc"),
    *("pearson", "spearman", "pearson_and_spearman", "teacher_accuracy", "agreement"),
    *("micro_f1", "macro_f1", "mean_average_precision"),
]


class TrainingLog(NamedTuple):
    curve: list[dict[str, Any]]  # a point per validation: updates, epoch, and measures by split
    updates: int
    examples_seen: int  # clean ones, counted in each epoch
    examples: int  # in the training part


def read_log(text: str) -> TrainingLog:
    """The measures of every validation, which may include the training split.

    fairseq names lines after the split; those about an epoch's training have `lr`. A resumed run
    logs repeated updates again; the later line counts.
    """
    points: dict[int, dict[str, Any]] = {}
    seen: dict[int, int] = {}  # in each epoch
    updates = examples = 0
    for tag, content in LINE.findall(text):
        try:
            record = json.loads(content)
        except ValueError:  # interrupted by a warning
            continue
        start = f"{tag}_"
        values = {key[len(start) :]: v for key, v in record.items() if key.startswith(start)}
        if "num_updates" not in values:
            continue
        now = int(values["num_updates"])
        if "lr" in values:
            updates, examples = now, int(float(values["examples"]))
            seen[int(record["epoch"])] = int(float(values["examples_seen"]))
        else:
            point = points.setdefault(now, {"updates": now, "epoch": int(record["epoch"])})
            point[tag] = {key: float(values[key]) for key in MEASURES if key in values}
    curve = [points[now] for now in sorted(points)]
    return TrainingLog(curve, updates, sum(seen.values()), examples)


def scored(folder: Path) -> dict[str, float]:
    """The quality of the teacher in a comparison, with the names of our training logs."""
    row = json.loads((folder / "compare.json").read_text())["models"]["teacher"]
    values = {key: value for key, value in row.items() if key in MEASURES}
    for parts in (("accuracy", "f1"), ("pearson", "spearman")):
        with contextlib.suppress(KeyError):
            mean = sum(values[part] for part in parts) / 2
            values["_and_".join(parts).replace("accuracy", "acc")] = mean
    return values
