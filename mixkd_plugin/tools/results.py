"""The raw results of a study, a JSON line for each finished run: written, read, checked."""

import json
import logging
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Set

logger = logging.getLogger(__name__)

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


SEED = re.compile(r" --(seed|train-fraction-seed) \d+|seed\d+")  # in a command
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


class Result(NamedTuple):
    run: Run
    record: Dict[str, Any]  # the line


class Results(NamedTuple):
    done: List[Result]  # of students
    teachers: List[Result]
    failed: List[Result]
    speeds: List[Dict[str, Any]]


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


def unlike(results: Iterable[Result]) -> Dict[str, List[str]]:
    """Folders of runs whose commands differ by more than the seed, and what is not in all of them.

    So where a study was changed, and only some of its seeds were done again.
    """
    commands: Dict[str, List[Set[str]]] = {}
    for run, record in results:
        words = SEED.sub("", record.get("command", ""))
        flags = {f"--{flag}".strip() for flag in words.split(" --")[1:]}
        commands.setdefault(run.folder.rpartition("/")[0], []).append(flags)
    found = {}
    for folder, all_flags in commands.items():
        differing = sorted(set.union(*all_flags) - set.intersection(*all_flags))
        if differing:
            found[folder] = differing
    return found


def append_result(path: str, record: Mapping[str, Any]) -> None:
    """Add a line, in place of one that a killed writer left cut off. Lock the file first."""
    with open(path, "ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(record).encode() + b"\n")


def read_results(paths: Sequence[str]) -> Results:
    """All results; a later line of a run replaces earlier ones, a failed one never a done one.

    Raises:
        ValueError: naming file and line, where one cannot be read or lacks what it needs.
    """
    done: Dict[Run, Result] = {}
    failed: Dict[Run, Result] = {}
    speeds: Dict[Any, Dict[str, Any]] = {}
    for path in paths:
        for record in _read_file(path):
            if record.get("kind") == "speed":
                speeds[record["task"], record["student"]] = record
            else:
                run = run_of(record)
                (done if record["status"] == "done" else failed)[run] = Result(run, record)
    return Results(
        [result for run, result in done.items() if run.arm != TEACHER],
        [result for run, result in done.items() if run.arm == TEACHER],
        [result for run, result in failed.items() if run not in done],
        list(speeds.values()),
    )


def run_of(record: Mapping[str, Any]) -> Run:
    """The run that a line is about; lines of teachers name no student, data and variant."""
    if record["arm"] == TEACHER:
        record = {"student": TEACHER, "data": GOLD, "variant": RECIPE, **record}
    values = {key: record[key] for key in Run._fields}
    return Run(**{**values, "fraction": float(values["fraction"])})


def _read_file(path: str) -> List[Dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if lines and not lines[-1].endswith("\n") and not _is_json(lines[-1]):
        logger.warning(f"{path}, line {len(lines)}: cut off, left out")
        lines.pop()
    records = []
    for i, line in enumerate(lines, 1):
        if line.strip():
            try:
                records.append(_checked(json.loads(line)))
            except ValueError as error:
                if isinstance(error, json.JSONDecodeError):
                    error = ValueError(f"not JSON ({error})")
                raise ValueError(f"{path}, line {i}: {error}") from error
    if not records:
        raise ValueError(f"{path} has no complete line; allowed: a file of results")
    return records


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _checked(record: Any) -> Dict[str, Any]:
    """The line as it is, if it has what the report needs.

    Raises:
        ValueError: saying what it lacks.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{type(record).__name__}; allowed: an object")
    kind = record.get("kind")
    if kind == "speed":
        _need(record, ("task", "student"), str)
        _need(record, ("sentences_per_second", "teacher_sentences_per_second"), (int, float))
        return record
    if kind is not None:
        raise ValueError(f"kind {kind!r}; allowed: speed, or none")
    _need(record, ("task", "arm", "status"), str)
    _need(record, ("fraction",), (int, float))
    _need(record, ("seed",), int)
    if record["arm"] != TEACHER:
        _need(record, ("student", "data", "variant"), str)
        changes_of(record["variant"])
    if record["status"] == "failed":
        _need(record, ("error",), str)
    elif record["status"] == "done":
        _check_metrics(record)
    else:
        raise ValueError(f"status {record['status']!r}; allowed: done, failed")
    return record


def _check_metrics(record: Mapping[str, Any]) -> None:
    _need(record, ("metrics",), dict)
    _need(record["metrics"], ("valid",), dict)
    if record["arm"] != TEACHER:  # a teacher from elsewhere may have been scored in another way
        metrics = [key for key in headlines(record["task"]) if key in record["metrics"]["valid"]]
        _need(record["metrics"]["valid"], metrics[:1] or headlines(record["task"]), (int, float))
    if "teacher" in record:
        _need(record, ("teacher",), dict)
        _need(record["teacher"], ("metrics",), dict)
    if "curve" in record:
        _need(record, ("curve",), list)
        for point in record["curve"]:
            _need(point, ("updates",), int)


def _need(record: Mapping[str, Any], keys: Iterable[str], kind: Any) -> None:
    for key in keys:
        if key not in record:
            raise ValueError(f"no {key!r}")
        if not isinstance(record[key], kind) or isinstance(record[key], bool):
            raise ValueError(f"{key!r} is {record[key]!r}; allowed: {_KINDS[kind]}")


_KINDS = {
    str: "text",
    int: "a whole number",
    (int, float): "a number",
    dict: "an object",
    list: "a list",
}
