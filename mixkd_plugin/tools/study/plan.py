"""Which runs a study has, and the flags of each: settings in, plain values out.

A run's flags are merged from the study's tables, later ones winning: common, its task, its
fraction, its student, its arm, its variant. A key is a flag of `fairseq-train` without the dashes,
or one of EXTRA, from which flags follow.
"""

import math
from itertools import product
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ..report.result_line import RECIPE, TEACHER, Run, changes_of
from ..texts.glue import TASKS

# What a table may hold beside flags of fairseq-train.
EXTRA = {
    "rows": "rows that the student computes in an update, clean and mixed ones: sets batch-size",
    "epochs": "length in passes of `rows` clean rows: sets max-update, for all arms alike",
    "min-updates": "shortest length of the run",
    "length": "longest example, in tokens, <s> and </s> included",
    "init": "teacher, encoder or scratch (random numbers): where the student, or a teacher, begins",
    "teacher-epochs": "length of the teacher's training, in passes; at least min-updates",
    "teacher-on": "all or part: what the study's teacher is trained on",
    "teacher": "a fine-tuned checkpoint, instead of a teacher of the study's own",
}
AXES = (
    "seeds",
    "tasks",
    "fractions",
    "students",
    "data",
    "variants",
    "arms",
)  # the outermost first
NUMBERS = {"seeds": (int, "whole numbers"), "fractions": ((int, float), "numbers")}
OF_A_TASK = ("length", "teacher-epochs", "teacher")  # students of a task share data and teacher
WEIGHTS = ("mle-weight", "kd-weight", "sm-weight", "tmkd-weight")

Settings = Dict[str, Any]


class TeacherRun(NamedTuple):
    """A teacher of a study; fraction and seed are those of its training."""

    task: str
    fraction: float
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.task}/{self.fraction:g}/{TEACHER}/seed{self.seed}"


def all_runs(study: Mapping[str, Any]) -> List[Run]:
    """The runs of a study, seeds outermost: an interrupted study has whole columns.

    Raises:
        ValueError: naming the axis or the setting, where it asks for what is not there.
    """
    defined = study["settings"]
    for axis in AXES:
        kinds, what = NUMBERS.get(axis, (object, "values"))
        values = study[axis]
        if not isinstance(values, list) or not all(isinstance(value, kinds) for value in values):
            raise ValueError(f"{axis}: {values!r}; allowed: a list of {what}, as [A,B]")
    known = {
        "tasks": TASKS,
        "students": defined["students"],
        "arms": defined["arms"],
        "data": study["glue"],
    }
    for axis, names in known.items():
        for name in study[axis]:
            if name not in names:
                raise ValueError(f"{axis}: {name!r}; allowed: {', '.join(map(str, names))}")
    for fraction in study["fractions"]:
        if not 0 < fraction <= 1:
            raise ValueError(f"fractions: {fraction}; allowed: above 0, at most 1")
    runs = [
        Run(task, float(fraction), seed, student, arm, data, str(variant))
        for seed, task, fraction, student, data, variant, arm in product(*(study[a] for a in AXES))
    ]
    for run in runs:
        settings = settings_of(study, run)
        train_flags(settings, examples=1)
        teacher_of(study, run)
        _check_init(settings.get("init"), "teacher", "encoder", "scratch")
        _check_init(teacher_settings(study, run.task)["init"], "encoder", "scratch")
    return [run for run in runs if _variant_applies(study, run)]


def _check_init(value: Any, *allowed: str) -> None:
    if value not in allowed:
        raise ValueError(f"init: {value!r}; allowed: {', '.join(allowed)}")


def _variant_applies(study: Mapping[str, Any], run: Run) -> bool:
    """Whether a variant changes its arm, and leaves it that arm.

    Left out: other mixes or distances for who has none, and a weight for a term that the arm does
    not have, which would make another arm of it.
    """
    plain = settings_of(study, run._replace(variant=RECIPE))
    for key in changes_of(run.variant):
        if (
            (key in WEIGHTS and not _positive(plain, key))
            or (key.startswith("mixup-") and not mixes_per_example(plain))
            or (key.startswith("distill-") and not _positive(plain, "kd-weight", "tmkd-weight"))
        ):
            return False
    return True


def settings_of(study: Mapping[str, Any], run: Run) -> Settings:
    """A run's settings, merged."""
    tables = study["settings"]
    merged: Settings = {}
    fractions = {float(key): table for key, table in tables["fractions"].items()}
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
                raise ValueError(f"{where}: {key}; allowed: in settings.common or settings.tasks")
        merged.update(table or {})
    missing = [key for key in WEIGHTS if key not in merged]
    if missing:
        raise ValueError(f"arm {run.arm!r} does not say {', '.join(missing)}")
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
    if where == "all":
        return TeacherRun(run.task, 1.0, 1)
    if where == "part":
        return TeacherRun(run.task, run.fraction, run.seed)
    raise ValueError(f"teacher-on: {where!r}; allowed: all, part")


def teachers_first(study: Mapping[str, Any], runs: List[Run]) -> List[Run]:
    """The runs, a first one of each teacher ahead, so that teachers are trained side by side."""
    first: Dict[TeacherRun, Run] = {}
    for run in runs:
        first.setdefault(teacher_of(study, run), run)
    ahead = set(first.values())
    return [*first.values(), *(run for run in runs if run not in ahead)]


def rows_per_example(settings: Settings) -> int:
    """Rows that the student computes for an example: itself, where wanted, and its mixes."""
    return int(_positive(settings, "mle-weight", "kd-weight")) + mixes_per_example(settings)


def mixes_per_example(settings: Settings) -> int:
    mixing = _positive(settings, "sm-weight", "tmkd-weight")
    return _number(settings, "mixup-ratio", default=1) if mixing else 0


def teacher_queries(settings: Settings, examples_seen: int) -> int:
    """How many rows the losses compared with the teacher, each time they did."""
    clean = int(_positive(settings, "kd-weight"))
    mixed = mixes_per_example(settings) if _positive(settings, "tmkd-weight") else 0
    return examples_seen * (clean + mixed)


def _positive(settings: Settings, *weights: str) -> bool:
    return any(_number(settings, key, float) > 0 for key in weights)


def _number(settings: Settings, key: str, kind: type = int, default: Optional[int] = None):
    value = settings.get(key, default)
    try:
        return kind(value)
    except (TypeError, ValueError):
        allowed = "a whole number" if kind is int else "a number"
        raise ValueError(f"{key}: {value!r}; allowed: {allowed}") from None


def train_flags(settings: Settings, examples: int) -> List[str]:
    """Flags of `fairseq-train` for settings and so many training examples.

    Raises:
        ValueError: where a length or a batch cannot be derived.
    """
    flags = {key: value for key, value in settings.items() if key not in EXTRA}
    if "batch-size" not in flags and "max-tokens" not in flags:
        rows, needed = _number(settings, "rows"), max(1, rows_per_example(settings))
        size = rows // needed
        if size < 1:
            raise ValueError(f"rows: {rows}; an example alone has {needed}")
        # an epoch has whole batches, and those of an arm with mixes should be `needed` times as
        # many: else the same number of updates is another number of rows
        batches = needed * math.ceil(examples / rows)
        same = math.ceil(examples / size) == batches
        flags["batch-size"] = size if same else min(size, math.ceil(examples / batches))
    if "max-update" not in flags:
        passes = _number(settings, "epochs", float)
        length = math.ceil(math.ceil(examples / _number(settings, "rows")) * passes)
        flags["max-update"] = max(_number(settings, "min-updates", default=1), length)
    updates = _number(flags, "max-update")
    flags.setdefault("total-num-update", updates)
    flags.setdefault("warmup-updates", updates // 10)
    result: List[str] = []
    for key, value in flags.items():
        if value is None or value is False:
            continue
        result.append(f"--{key}")
        if value is not True:
            result.append(str(value))
    return result
