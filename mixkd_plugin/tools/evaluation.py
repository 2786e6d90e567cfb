"""Shared by `compare` and `serving_report`: measures of models on a split, and their table."""

import json
import logging
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from .. import scores
from ..checkpoints.checks import warn_not_found
from ..checkpoints.outputs import put_in_order
from ..errors import prefixed
from ..fingerprints import class_names
from ..names import as_flag, class_name, join_names, split_names
from .batches import batches_of_all, in_order, targets_of
from .labels import match_labels
from .output import atomic_write
from .scoring import Batch, Loaded, load_all
from .timing import Logits, measure_speeds

logger = logging.getLogger(__name__)

REPORTS = ("report_acc_and_f1", "report_mcc")
# Key of a measure: heading and format.
QUALITY = {
    "accuracy": ("accuracy, %", "{:.1f}"),
    "micro_f1": ("micro F1, %", "{:.1f}"),
    "macro_f1": ("macro F1, %", "{:.1f}"),
    "mean_average_precision": ("mean average precision, %", "{:.1f}"),
    "f1": ("F1 of 1, %", "{:.1f}"),
    "mcc": ("MCC, %", "{:.1f}"),
    "pearson": ("Pearson, %", "{:.1f}"),
    "spearman": ("Spearman, %", "{:.1f}"),
    "r2": ("R², %", "{:.1f}"),
    "agreement": ("agreement with the teacher, %", "{:.1f}"),
    "correlation": ("Pearson with the teacher, %", "{:.1f}"),
}

Rows = dict[str, dict[str, Any]]  # measures by name


# --- output ---


def write(out: str, name: str, rows: Rows, about: Mapping[str, Any], table: str) -> None:
    """Print the table; OUT/NAME.md and OUT/NAME.json."""
    print(table)
    os.makedirs(out, exist_ok=True)
    atomic_write(Path(out, f"{name}.md"), table)
    atomic_write(Path(out, f"{name}.json"), json.dumps({**about, "models": rows}, indent=2))


def markdown(rows: Rows, measures: Mapping[str, tuple[str, str]]) -> str:
    keys = [key for key in measures if key in next(iter(rows.values()))]
    cells = [[name.replace("|", "\\|"), *(measures[key][1].format(row[key]) for key in keys)]
             for name, row in rows.items()]  # fmt: skip
    header = ["model", *(measures[key][0] for key in keys)]
    return tabulate(cells, header, tablefmt="pipe", disable_numparse=True)


# --- measures ---


class Evaluation(NamedTuple):
    """Checkpoints loaded on a data folder, and their batches of a split."""

    loaded: dict[str, Loaded]
    batches: dict[str, list[Batch]]
    teacher: str
    rounds: int

    @property
    def targets(self) -> Tensor:
        return targets_of(self.batches[self.teacher])

    def measure(self, models: Mapping[str, Logits], name_of: Mapping[str, str]) -> Rows:
        """Quality, agreement with the teacher and speed of models, each from a checkpoint."""
        reports, targets = reports_of(self.loaded.values()), self.targets
        reads = {label: self.batches[name_of[label]] for label in models}
        taught = self.outputs(self.loaded[self.teacher].logits, self.batches[self.teacher])
        outputs = {label: self.outputs(logits, reads[label]) for label, logits in models.items()}
        speeds = measure_speeds(models, reads, self.rounds)
        rows = {}
        for label in models:
            one = self.loaded[name_of[label]]
            rows[label] = {
                **quality(one, outputs[label], targets, reports),
                **teacher_agreement(one, outputs[label], taught),
                "sentences_per_second": speeds[label],
            }
        return rows

    @staticmethod
    def outputs(logits: Logits, batches: Sequence[Batch]) -> Tensor:
        with torch.no_grad():
            return in_order([logits(batch) for batch in batches], batches)


def evaluation(
    data: str,
    paths: Mapping[str, str],
    teacher: str,
    split: str = "valid",
    batch_size: int = 32,
    rounds: int = 5,
    teacher_data: str | None = None,
    head: str | None = None,
    labels: str | None = None,
) -> Evaluation:
    """Of checkpoints {name: path}.

    Args:
        teacher_data: the same examples in the teacher's vocabulary, if it is not the students'
        head: the classification head to use, see :func:`scoring.load`
        labels: the data's classes in the order of the outputs, for checkpoints whose classes have
            other names (default: by their names, or their predictions)

    Raises:
        ValueError: if a checkpoint cannot be used, or two read the data differently.
    """
    loaded = load_all(paths, data, teacher, teacher_data, head)
    if labels and all(one.names is None for one in loaded.values()):
        task = loaded[teacher].task
        ours = None if task.cfg.regression_target else class_names(task.label_dictionary)
        if [class_name(name) for name in split_names(labels)] != ours:
            raise ValueError(
                "--labels must be given for a checkpoint whose classes have other names than the "
                f"data's, got {labels} where none has: `mixkd import --labels` names them"
            )
    batches = batches_of_all(loaded, split, batch_size)
    for name, one in loaded.items():
        if one.names or (one.names is not None and labels):
            _put_in_order(name, one, batches[name], labels)
        elif one.names is not None:
            warn_not_found(one.path, "labels")
    return Evaluation(loaded, batches, teacher, rounds)


def _put_in_order(name: str, one: Loaded, batches: Sequence[Batch], labels: str | None) -> None:
    """Change the order of a checkpoint's outputs to that of the data's classes."""
    cfg, classes = one.task.cfg, class_names(one.task.label_dictionary)

    def confusion() -> np.ndarray:
        if one.multi_label:
            raise ValueError("--labels must be given for unnamed classes of --multi-label")
        predicted, targets = Evaluation.outputs(one.logits, batches).argmax(1), targets_of(batches)
        counts = scores.confusion_counts(predicted, targets.flatten(), len(classes))
        return counts.view(len(classes), -1).numpy()

    with prefixed(one.path):
        order, notes = match_labels(classes, one.names or classes, labels, confusion)
    put_in_order(one.model.state_dict(), cfg.classification_head_name, order, classes)
    how, *table = notes or [f"labels by their names: {', '.join(order)}"]
    flag = f"--teacher-labels={shlex.quote(join_names(order))}"
    logger.warning("\n".join([f"{name}: {how} (fairseq-train: {flag})", *table]))


def reports_of(loaded: Iterable[Loaded]) -> set[str]:
    """The REPORTS that a checkpoint's settings or its data folder name.

    Teachers trained elsewhere often lack them.
    """
    found: set[str] = set()
    for one in loaded:
        flags = Path(one.data, "train_flags.txt")
        words = flags.read_text().split() if flags.exists() else []
        for key in REPORTS:
            if one.cfg["criterion"].get(key) or as_flag(key) in words:
                found.add(key)
    return found


def quality(one: Loaded, outputs: Tensor, targets: Tensor, reports: set[str]) -> dict[str, float]:
    """The task's metrics in percent, the one to plot first; ``reports``: keys of REPORTS."""
    classes = one.task.cfg.num_classes
    if one.task.cfg.regression_target:
        kinds = {"pearson": scores.pearson, "spearman": scores.spearman, "r2": scores.r_squared}
        targets = targets.view(-1, classes)
        return {name: _correlation(kind, outputs, targets) for name, kind in kinds.items()}
    predictions = scores.predict(outputs, one.multi_label)
    targets = targets.view(-1, classes) if one.multi_label else targets.flatten()
    result = {"accuracy": _percent_equal(predictions, targets)}
    if one.multi_label:
        counts = scores.label_counts(predictions, targets).numpy()
        values = scores.correlation_values(outputs, targets).double().numpy()
        return {
            "micro_f1": 100 * scores.micro_f1_score(counts),
            "macro_f1": 100 * scores.f1_score(counts),
            "mean_average_precision": 100 * scores.mean_average_precision(values),
            **result,
        }
    confusion = scores.confusion_counts(predictions, targets, classes)
    if "report_acc_and_f1" in reports:
        names = class_names(one.task.label_dictionary)
        counts = scores.f1_counts(confusion, scores.classes_of_f1(names))
        result[scores.name_of_f1(names)] = 100 * scores.f1_score(counts.numpy())
    if "report_mcc" in reports:
        square = confusion.view(classes, classes).numpy()
        result["mcc"] = 100 * scores.matthews_corrcoef(square)
    return result


def teacher_agreement(loaded: Loaded, outputs: Tensor, taught: Tensor) -> dict[str, float]:
    """Share of examples with the teacher's class, or all of its labels; for regression, correlation
    of the scores."""
    if loaded.task.cfg.regression_target:
        return {"correlation": _correlation(scores.pearson, outputs, taught)}
    both = (scores.predict(logits, loaded.multi_label) for logits in (outputs, taught))
    return {"agreement": _percent_equal(*both)}


def _correlation(kind: Callable, a: Tensor, b: Tensor) -> float:
    """In percent, averaged over the columns of both (n, C)."""
    values = scores.correlation_values(a, b).double().numpy()
    return 100 * kind(values)


def _percent_equal(a: Tensor, b: Tensor) -> float:
    return 100 * scores.equal_rows(a, b).double().mean().item()
