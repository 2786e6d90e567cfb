"""The lines of a study's results.jsonl: their format, and how they are read and checked."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import Required, TypedDict

GOLD = "gold"  # the data with GLUE's own labels
RECIPE = "recipe"  # the variant without changes
TEACHER = "teacher"  # the arm of lines about teachers
OF_TEACHER = {"student": TEACHER, "data": GOLD, "variant": RECIPE}  # which its lines lack
FORMER_ARMS = {"FM": "TMKD-only"}  # in results recorded under an earlier name
# GLUE's metric of a task, the first that every run has; other tasks have accuracy, or correlations.
HEADLINES = {
    "CoLA": ("mcc",),
    "STS-B": ("pearson_and_spearman",),
    "MRPC": ("acc_and_f1", "accuracy"),
    "QQP": ("acc_and_f1", "accuracy"),
}
NEXT_KEY = re.compile(r",(?=[\w.-]+=)")  # a comma that begins another KEY=VALUE


class Run(NamedTuple):
    """The key of a run in a study."""

    task: str
    fraction: float
    seed: int
    student: str
    arm: str
    data: str
    variant: str

    @property
    def folder(self) -> str:
        """Its folder in the study's."""
        parts = self.task, f"{self.fraction:g}", self.data, self.student, self.arm, self.variant
        return "/".join([*(part.replace("/", "_") for part in parts), f"seed{self.seed}"])

    @property
    def label(self) -> str:
        return self.arm if self.data == GOLD else f"{self.arm}, {self.data}"


class Result(NamedTuple):
    run: Run
    record: Mapping[str, Any]  # the line


class Results(NamedTuple):
    done: list[Result]  # of students
    teachers: list[Result]
    failed: list[Result]
    speeds: list[Mapping[str, Any]]
    replaced: Mapping[tuple[str, str], int]  # (file, later file): runs that the later one changes


def headlines(task: str) -> Sequence[str]:
    """Keys of a task's metric, the best first."""
    return HEADLINES.get(task, ("accuracy", "pearson_and_spearman"))


def changes_of(variant: str) -> dict[str, str]:
    """The changes of a variant: KEY=VALUE[,KEY=VALUE], where a value may have commas.

    Raises:
        ValueError: for another form.
    """
    if variant == RECIPE:
        return {}
    changes = [item.partition("=")[::2] for item in NEXT_KEY.split(variant)]
    if not all(key and value for key, value in changes):
        raise ValueError(f"variants must be {RECIPE} or KEY=VALUE[,KEY=VALUE], got {variant!r}")
    return dict(changes)


# --- the form of a line ---


def _printable(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be printable and not empty")
    return text


def _variant(text: str) -> str:
    return text if changes_of(_printable(text)) else RECIPE


Name = Annotated[str, AfterValidator(_printable)]
Count = Annotated[int, Field(gt=-(10**18), lt=10**18)]
Number = float | None
Measures = dict[str, Number]  # of a split; nan if the run diverged


class _Sizes(TypedDict, total=False):
    layers: Number
    parameters: Number
    bytes: Number
    sentences_per_second: Number


class _Point(TypedDict, total=False):
    updates: Required[Count]
    train: Measures
    valid: Measures
    valid1: Measures


class _Teacher(_Sizes, total=False):
    metrics: Required[dict[str, Measures]]


class _Subject(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(strict=True, extra="allow")
    task: Required[Name]
    fraction: Required[Annotated[float, Field(gt=0, le=1)]]
    seed: Required[Count]
    arm: Required[Name]
    student: Required[Name]
    data: Required[Name]
    variant: Required[Annotated[str, AfterValidator(_variant)]]


class _Failed(_Subject, total=False):
    status: Required[Literal["failed"]]
    error: Required[str]


class _Done(_Subject, _Sizes, total=False):
    status: Required[Literal["done"]]
    metrics: Required[dict[str, Measures]]
    teacher: _Teacher
    constant: dict[str, Measures]  # of the best constant answer
    curve: list[_Point]
    command: str | None
    data_digest: str | None
    files: list[str]  # digests of the teacher, and of what the student began from
    examples: Number
    updates: Number
    teacher_queries: Number
    mixes_per_example: Number


class _Speed(_Sizes, total=False):
    __pydantic_config__ = ConfigDict(strict=True, extra="allow")
    kind: Required[Literal["speed"]]
    task: Required[Name]
    student: Required[Name]
    sentences_per_second: Required[float]
    teacher_sentences_per_second: Required[float]
    teacher_layers: Number
    teacher_parameters: Number
    teacher_bytes: Number


_DONE, _FAILED, _SPEED = map(TypeAdapter, (_Done, _Failed, _Speed))


def check_record(record: Any) -> dict[str, Any]:
    """The line, unchanged, if it has all that the report reads.

    Raises:
        ValueError: with the key, the rule and the value.
    """
    if not isinstance(record, dict):
        raise ValueError(f"a line must be an object, got {type(record).__name__}")
    form = _SPEED if "kind" in record else _FAILED if record.get("status") == "failed" else _DONE
    of_teacher = record.get("arm") == TEACHER
    try:
        form.validate_python({**OF_TEACHER, **record} if of_teacher else record)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        raise ValueError(f"{place}: {found['msg']}, got {repr(found['input'])[:80]}") from None
    if form is _DONE and not of_teacher:
        valid, keys = record["metrics"].get("valid", {}), headlines(record["task"])
        if all(valid.get(key) is None for key in keys):
            raise ValueError(f"metrics.valid.{keys[0]}: must be given, got none")
    return record


def parse_record(text: bytes) -> dict[str, Any]:
    """:func:`check_record` of a JSON text; ValueError if it is damaged, too."""
    return check_record(from_json(text))


def subject(record: Mapping[str, Any]) -> Any:
    """The key of a line: its run, or the task and student of a speed."""
    if "kind" in record:
        return record["task"], record["student"]
    if record["arm"] == TEACHER:
        record = {**OF_TEACHER, **record}
    run = Run(**{key: record[key] for key in Run._fields})
    return run._replace(arm=FORMER_ARMS.get(run.arm, run.arm))


def _status(record: Mapping[str, Any]) -> str | None:
    return None if "kind" in record else record["status"]  # a speed has none


def read_results(paths: Sequence[str]) -> Results:
    """All results; a later line of a run replaces earlier ones, a failed one never a done one.

    Raises:
        ValueError: with file and line, if one cannot be read or lacks a key.
    """
    latest: dict[Any, dict] = {"done": {}, "failed": {}, None: {}}
    files = [(path, _read_file(path)) for path in paths]
    for _, records in files:
        for record in records:
            latest[_status(record)][subject(record)] = record
    results = [Result(run, record) for run, record in latest["done"].items()]
    return Results(
        [result for result in results if result.run.arm != TEACHER],
        [result for result in results if result.run.arm == TEACHER],
        [Result(*item) for item in latest["failed"].items() if item[0] not in latest["done"]],
        list(latest[None].values()),
        _replaced(files),
    )


def _replaced(files: Sequence[tuple[str, list[dict[str, Any]]]]) -> Mapping[tuple[str, str], int]:
    """Students' runs that a later file has with another command, other data or other scores."""
    keys = ("command", "data_digest", "metrics")
    done = [
        (path, {subject(r): repr([*map(r.get, keys)])  # as text, where nan equals nan
                for r in records if _status(r) == "done" and r["arm"] != TEACHER})
        for path, records in files
    ]  # fmt: skip
    last = {run: (path, work) for path, runs in done for run, work in runs.items()}
    return Counter((path, last[run][0]) for path, runs in done for run, work in runs.items()
                   if work != last[run][1])  # fmt: skip


def _read_file(path: str) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                records.append(parse_record(line))
            except ValueError as error:
                text = f"{path}, line {number}: {error}"
                raise ValueError(f"{text}; the study's command writes the file again") from error
    if not records:
        raise ValueError(f"{path} must hold results of a study, got no line")
    return records
