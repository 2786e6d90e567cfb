"""The raw results of a study, a JSON line for each finished run: written, read, checked."""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Set

from .result_line import TEACHER, Run, check_record, parse_json, run_of

logger = logging.getLogger(__name__)


SEED = re.compile(r" --(seed|train-fraction-seed) \d+|seed\d+")  # in a command


class Result(NamedTuple):
    run: Run
    record: Dict[str, Any]  # the line


class Results(NamedTuple):
    done: List[Result]  # of students
    teachers: List[Result]
    failed: List[Result]
    speeds: List[Dict[str, Any]]


def unlike(results: Iterable[Result]) -> Dict[str, List[str]]:
    """Folders of runs whose commands differ by more than the seed, and what is not in all of them.

    So where a study was changed, and only some of its seeds were done again.
    """
    commands: Dict[str, List[Set[str]]] = {}
    for run, record in results:
        words = SEED.sub("", record.get("command") or "")
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
        content = file.read()
        last = content[content.rfind(b"\n") + 1 :]
        if last and _is_whole(last):
            file.write(b"\n")
        elif last:
            file.truncate(len(content) - len(last))
        file.write(json.dumps(record).encode() + b"\n")


def restore_results(path: Path, records: Iterable[Any]) -> None:
    """Write again what the file lacks of these records, and leave out what cannot be read.

    Lock the file first.
    """
    lines, last, damaged = [], {}, []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            if line.strip():
                record = check_record(parse_json(line))
                lines.append(line)
                if record.get("status") != "failed":
                    last[_subject(record)] = json.dumps(record)
        except ValueError:
            damaged.append(line)
    missing = []
    for record in records:
        try:
            record = {k: v for k, v in check_record(record).items() if k != "checkpoint"}
        except ValueError:
            continue  # who does it again will say so
        if last.get(_subject(record)) != json.dumps(record):
            missing.append(json.dumps(record).encode())
    if missing or damaged:
        print(f"{path}: {len(missing)} lines written again, {len(damaged)} damaged ones taken out")
        if damaged:
            with open(f"{path}.damaged", "ab") as file:
                file.writelines(line + b"\n" for line in damaged)
        unfinished = path.with_name(f"{path.name}.tmp")
        unfinished.write_bytes(b"".join(line + b"\n" for line in [*lines, *missing]))
        os.replace(unfinished, path)


def _subject(record: Mapping[str, Any]) -> Any:
    """What a line is about: a later one replaces it."""
    if record.get("kind") == "speed":
        return record["task"], record["student"]
    return run_of(record)


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
            run = _subject(record)
            if record.get("kind") == "speed":
                speeds[run] = record
            else:
                (done if record["status"] == "done" else failed)[run] = Result(run, record)
    return Results(
        [result for run, result in done.items() if run.arm != TEACHER],
        [result for run, result in done.items() if run.arm == TEACHER],
        [result for run, result in failed.items() if run not in done],
        list(speeds.values()),
    )


def _read_file(path: str) -> List[Dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if lines[-1] and not _is_whole(lines[-1]):
        logger.warning(f"{path}, line {len(lines)}: cut off, left out")
        lines.pop()
    records = []
    for i, line in enumerate(lines, 1):
        if line.strip():
            try:
                records.append(check_record(parse_json(line)))
            except ValueError as error:
                text = f"{path}, line {i}: {error}"
                raise ValueError(f"{text}; the study's command replaces such lines") from error
    if not records:
        raise ValueError(f"{path} has no complete line; allowed: a file of results")
    return records


def _is_whole(line: bytes) -> bool:
    """Whether a line without an end is a record all the same."""
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False
