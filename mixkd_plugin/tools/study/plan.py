"""The runs of a study and the flags of each, as functions of its settings.

A run's flags are merged from the study's tables, later ones winning: common, its task, its
fraction, its student, its arm, its variant. A key is a flag of `fairseq-train` without the dashes,
or one of EXTRA, from which flags are derived.
"""

import math
import os
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

from ..results import RECIPE, TEACHER, Run, changes_of

# Keys of a table that are not flags of fairseq-train: see examples/glue/README.md.
EXTRA = {"rows", "epochs", "min-updates", "length", "init"}
EXTRA |= {"teacher-epochs", "teacher-on", "teacher"}
OF_A_TASK = ("length", "teacher-epochs", "teacher")  # students of a task share data and teacher
AXES = ("seeds", "tasks", "fractions", "students", "data", "variants", "arms")  # outermost first
WEIGHTS = ("mle-weight", "kd-weight", "sm-weight", "tmkd-weight")
BEGINNINGS = ("teacher", "encoder", "scratch")
FOLDER = "a Hugging Face folder"  # a value of `init`, beside names

Settings = dict[str, Any]


class TeacherRun(NamedTuple):
    """A teacher of a study; fraction and seed are those of its training."""

    task: str
    fraction: float
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.task}/{self.fraction:g}/{TEACHER}/seed{self.seed}"


def all_runs(study: Mapping[str, Any]) -> list[Run]:
    """The runs of a study, seeds outermost: an interrupted study has complete seeds.

    Raises:
        ValueError: for an unknown name, with the axis or the setting; for two folders of one name.
    """
    tables = study["settings"]
    known = {"data": study["glue"], "students": tables["students"], "arms": tables["arms"]}
    for axis, names in known.items():
        for name in study[axis]:
            _check_choice(axis, name, *names)
    for fraction in study["fractions"]:
        if not 0 < fraction <= 1:
            raise ValueError(f"fractions must be in (0, 1], got {fraction}")
    runs = [
        Run(task, float(fraction), seed, student, arm, data, variant)
        for seed, task, fraction, student, data, variant, arm in product(*(study[a] for a in AXES))
    ]
    folders: dict[str, str] = {}
    for run in runs:
        settings = settings_of(study, run)
        train_flags(settings, examples=1)
        teacher_of(study, run)
        init = settings.get("init")
        if init in BEGINNINGS or not os.path.isdir(str(init)):
            _check_choice("init", init, *BEGINNINGS, FOLDER)
        else:  # OUT/inits has it under its name
            folder = os.path.realpath(init)
            other = folders.setdefault(os.path.basename(folder), folder)
            if other != folder:
                raise ValueError(
                    f"init must be folders of different names, got {other} and {folder}: rename one"
                )
        _check_choice("init", teacher_settings(study, run.task)["init"], "encoder", "scratch")
    return [run for run in runs if _variant_applies(study, run)]


def _check_choice(key: str, value: Any, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"{key} must be one of {', '.join(map(str, choices))}, got {value!r}")


def _variant_applies(study: Mapping[str, Any], run: Run) -> bool:
    """Whether a variant changes a run of its arm without making it another arm.

    False for changes of mixes or distances in arms without them, and for a weight of a term that
    the arm does not have.
    """
    plain = settings_of(study, run._replace(variant=RECIPE))
    distils = _positive(plain, "kd-weight", "tmkd-weight")
    return not any(
        (key in WEIGHTS and not _positive(plain, key))
        or (key.startswith("mixup-") and not mixes_per_example(plain))
        or (key.startswith("distill-") and not distils)
        or (key == "hidden-weight" and not (distils or _matches_states(plain)))
        for key in changes_of(run.variant)
    )


def settings_of(study: Mapping[str, Any], run: Run) -> Settings:
    """A run's settings, merged."""
    tables = study["settings"]
    fractions = {float(key): table for key, table in tables["fractions"].items()}
    merged: Settings = {}
    for where, table in {
        "common": tables["common"],
        "tasks": tables["tasks"].get(run.task),
        "fractions": fractions.get(run.fraction),
        "students": tables["students"][run.student],
        "arms": tables["arms"][run.arm],
        "variants": changes_of(run.variant),
    }.items():
        for key in table or {}:
            if key in OF_A_TASK and where not in ("common", "tasks"):
                raise ValueError(f"{key} must be in settings.common or settings.tasks, got {where}")
        merged.update(table or {})
    for key in WEIGHTS:
        _number(merged, key, float)
    return merged


def teacher_settings(study: Mapping[str, Any], task: str) -> Settings:
    tables = study["settings"]
    merged = {"init": "encoder", **tables["common"], **(tables["tasks"].get(task) or {})}
    merged.update(tables["teacher"])
    return {**merged, "epochs": merged["teacher-epochs"]}


def teacher_of(study: Mapping[str, Any], run: Run) -> TeacherRun:
    where = settings_of(study, run).get("teacher-on", "all")
    _check_choice("teacher-on", where, "all", "part")
    if where == "all":
        return TeacherRun(run.task, 1.0, 1)
    return TeacherRun(run.task, run.fraction, run.seed)


def teachers_first(study: Mapping[str, Any], runs: list[Run]) -> list[Run]:
    """The runs, the first one of each teacher first, so that teachers are trained in parallel."""
    first = {teacher_of(study, run): run for run in reversed(runs)}.values()
    return sorted(runs, key=lambda run: run not in first)


def rows_per_example(settings: Settings) -> int:
    """Sequences that the student computes for an example: itself, if needed, and its mixes."""
    return int(_positive(settings, "mle-weight", "kd-weight")) + mixes_per_example(settings)


def mixes_per_example(settings: Settings) -> int:
    mixing = _positive(settings, "sm-weight", "tmkd-weight")
    return _number(settings, "mixup-ratio", default=1) if mixing else 0


def teacher_queries(settings: Settings, examples_seen: int) -> int:
    """Number of sequences that the losses compared with the teacher, with repetitions."""
    if _matches_states(settings):  # of every sequence
        return examples_seen * rows_per_example(settings)
    clean = int(_positive(settings, "kd-weight"))
    mixed = mixes_per_example(settings) if _positive(settings, "tmkd-weight") else 0
    return examples_seen * (clean + mixed)


def _matches_states(settings: Settings) -> bool:
    return settings.get("hidden-weight") is not None and _positive(settings, "hidden-weight")


def _positive(settings: Settings, *weights: str) -> bool:
    return any(_number(settings, key, float) > 0 for key in weights)


def _number(settings: Settings, key: str, kind: type = int, default: int | None = None):
    value = settings.get(key, default)
    try:
        return kind(value)
    except (TypeError, ValueError):
        what = "an integer" if kind is int else "a number"
        raise ValueError(f"{key} must be {what}, got {value!r}") from None


def train_flags(settings: Settings, examples: int) -> list[str]:
    """Flags of `fairseq-train` for settings and a number of training examples.

    Raises:
        ValueError: if the number of updates or the batch size cannot be derived.
    """
    flags = {key: value for key, value in settings.items() if key not in EXTRA}
    if "batch-size" not in flags and "max-tokens" not in flags:
        rows, needed = _number(settings, "rows"), max(1, rows_per_example(settings))
        if rows < needed:
            raise ValueError(f"rows must be >= {needed}, the sequences of an example, got {rows}")
        # An arm with mixes should have `needed` times as many batches in an epoch, so that the same
        # number of updates has the same number of rows.
        size, batches = rows // needed, needed * math.ceil(examples / rows)
        same = math.ceil(examples / size) == batches
        flags["batch-size"] = size if same else min(size, math.ceil(examples / batches))
    if "max-update" not in flags:
        passes = _number(settings, "epochs", float)
        length = math.ceil(math.ceil(examples / _number(settings, "rows")) * passes)
        flags["max-update"] = max(_number(settings, "min-updates", default=1), length)
    updates = _number(flags, "max-update")
    flags.setdefault("total-num-update", updates)
    flags.setdefault("warmup-updates", updates // 10)
    words = [
        [f"--{key}", *([] if value is True else [str(value)])]
        for key, value in flags.items()
        if value is not None and value is not False
    ]
    return sum(words, [])
