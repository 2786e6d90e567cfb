"""A line of a study's results: what it is about, and what the report needs of it."""

import json
import re
from typing import Any, Callable, Dict, Iterable, Mapping, NamedTuple, Sequence

GOLD = "gold"  # the data whose labels are GLUE's own
RECIPE = "recipe"  # the variant in which nothing is changed
TEACHER = "teacher"  # the arm of lines about teachers
# GLUE's own metric of a task, the first that every run has; of all others accuracy.
HEADLINES = {
    "CoLA": ("mcc",),
    "STS-B": ("pearson_and_spearman",),
    "MRPC": ("acc_and_f1", "accuracy"),
    "QQP": ("acc_and_f1", "accuracy"),
}

NEXT_KEY = re.compile(r",(?=[\w.-]+=)")  # a comma that begins another KEY=VALUE


class Run(NamedTuple):
    """What tells a run of a study from the others."""

    task: str
    fraction: float
    seed: int
    student: str
    arm: str
    data: str
    variant: str

    @property
    def folder(self) -> str:
        """Where its study keeps it."""
        parts = self.task, f"{self.fraction:g}", self.data, self.student, self.arm, self.variant
        return "/".join([*(part.replace("/", "_") for part in parts), f"seed{self.seed}"])

    @property
    def label(self) -> str:
        return self.arm if self.data == GOLD else f"{self.arm}, {self.data}"


def headlines(task: str) -> Sequence[str]:
    """Keys of a task's metric, the best first."""
    return HEADLINES.get(task, ("accuracy",))


def changes_of(variant: str) -> Dict[str, str]:
    """What a variant changes: KEY=VALUE[,KEY=VALUE], where a value may hold commas.

    Raises:
        ValueError: for another form.
    """
    if variant == RECIPE:
        return {}
    changes = {}
    for item in NEXT_KEY.split(variant):
        key, _, value = item.partition("=")
        if not key or not value:
            raise ValueError(f"variants: {variant!r}; allowed: {RECIPE} or KEY=VALUE[,KEY=VALUE]")
        changes[key] = value
    return changes


def run_of(record: Mapping[str, Any]) -> Run:
    """The run that a line is about; lines of teachers name no student, data and variant."""
    if record["arm"] == TEACHER:
        record = {"student": TEACHER, "data": GOLD, "variant": RECIPE, **record}
    values = {key: record[key] for key in Run._fields}
    return Run(**{**values, "fraction": float(values["fraction"])})


def parse_json(text: bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: where it is damaged, in one sentence.
    """
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from error


# --- what the report needs of a line, and of which kind ---


def check_record(record: Any) -> Dict[str, Any]:
    """The line as it is, if it has what the report needs, and all that it reads is of its kind.

    Raises:
        ValueError: saying what it lacks.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{type(record).__name__}; allowed: an object")
    kind = record.get("kind")
    if kind == "speed":
        _need(record, ("task", "student"), "a name")
        _need(record, ("sentences_per_second", "teacher_sentences_per_second"), "a number")
        _may_have(record, (*SIZES, *(f"teacher_{key}" for key in SIZES)), "a number")
        return record
    if kind is not None:
        raise ValueError(f"kind {_short(kind)}; allowed: speed, or none")
    _need(record, ("task", "arm", "status"), "a name")
    _need(record, ("fraction",), "a number")
    if not 0 < record["fraction"] <= 1:
        raise ValueError(f"'fraction' is {_short(record['fraction'])}; allowed: above 0, at most 1")
    _need(record, ("seed",), "a whole number")
    if record["arm"] != TEACHER:
        _need(record, ("student", "data", "variant"), "a name")
        changes_of(record["variant"])
    if record["status"] == "failed":
        _need(record, ("error",), "text")
    elif record["status"] == "done":
        _check_results(record)
    else:
        raise ValueError(f"status {_short(record['status'])}; allowed: done, failed")
    return record


def _check_results(record: Mapping[str, Any]) -> None:
    _may_have(record, ("command", "data_digest"), "text")
    _may_have(record, (*SIZES, *COUNTS), "a number")
    _need(record, ("metrics",), "an object")
    _need(record["metrics"], ("valid",), "an object")
    _check_splits(record["metrics"])
    if record["arm"] != TEACHER:  # a teacher from elsewhere may have been scored in another way
        metrics = [key for key in headlines(record["task"]) if key in record["metrics"]["valid"]]
        _need(record["metrics"]["valid"], metrics[:1] or headlines(record["task"]), "a number")
    if "teacher" in record:
        _need(record, ("teacher",), "an object")
        _may_have(record["teacher"], SIZES, "a number")
        _need(record["teacher"], ("metrics",), "an object")
        _check_splits(record["teacher"]["metrics"])
    if "curve" in record:
        _need(record, ("curve",), "a list")
        for point in record["curve"]:
            if not isinstance(point, dict):
                raise ValueError(f"'curve' holds {_short(point)}; allowed: objects")
            _need(point, ("updates",), "a whole number")
            _check_splits(point)


def _check_splits(measures: Mapping[str, Any]) -> None:
    for split in {"valid", "valid1", "train"} & set(measures):
        _need(measures, (split,), "an object")
        _may_have(measures[split], measures[split], "a number")


def _may_have(record: Mapping[str, Any], keys: Iterable[str], kind: str) -> None:
    """``null`` is as good as nothing."""
    _need(record, [key for key in keys if record.get(key) is not None], kind)


def _need(record: Mapping[str, Any], keys: Iterable[str], kind: str) -> None:
    for key in keys:
        if key not in record:
            raise ValueError(f"no {key!r}")
        if not _KINDS[kind](record[key]):
            raise ValueError(f"{key!r} is {_short(record[key])}; allowed: {kind}")


def _short(value: Any) -> str:
    return repr(value)[:80]


SIZES = ("layers", "parameters", "bytes", "sentences_per_second")
COUNTS = ("examples", "updates", "teacher_queries", "mixes_per_example")


def _is_number(value: Any) -> bool:
    """Not one that is too large to count with; a run that diverged has nan or infinity."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 1e100)


def _is_text(value: Any) -> bool:
    """What can be written to a file: not half of a surrogate pair."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


_KINDS: Dict[str, Callable[[Any], bool]] = {
    "a name": lambda value: isinstance(value, str) and value.isprintable() and value != "",
    "text": _is_text,
    "a whole number": lambda value: type(value) is int and _is_number(value),
    "a number": _is_number,
    "an object": lambda value: isinstance(value, dict),
    "a list": lambda value: isinstance(value, list),
}
