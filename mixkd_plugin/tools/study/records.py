"""What the jobs of a study leave: `result.json` or `error.json` in the folder of each.

A process locks the folder of the job that it does, against other processes and machines.
OUT/results.jsonl is made from these files.
"""

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic_core import from_json

from ..locks import locked
from ..output import atomic_write
from ..results import Run, check_record, parse_record
from .commands import PLUGIN, Commands, portable
from .inputs import digest_of
from .plan import TeacherRun

RESULTS, RECORDS = "results.jsonl", ("result.json", "error.json")
VERSIONS = {"python": platform.python_version(), "torch": torch.__version__}
Record = dict[str, Any]


class Records:
    """The folders of a study's jobs, and their results."""

    def __init__(self, study: Mapping[str, Any], commands: Commands):
        self.study = study
        self.commands = commands
        self.out = Path(study["out"]).resolve()
        self.user_dir = os.path.abspath(study["user_dir"] or PLUGIN)
        # our own code is not compared
        code = sorted(map(str, Path(self.user_dir).rglob("*.py"))) if study["user_dir"] else []
        self.code = {"code": digest_of(*code)} if code else {}
        self.of_other_code: set[str] = set()
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.write_results()
        except OSError as error:
            raise ValueError(
                f"out must be a folder that can be written and locked, got {self.out}: {error}"
            ) from error

    def lock(self, folder: Path, wait: bool = True):
        return locked(folder, wait, self.commands.check)

    def folder(self, run: Run | TeacherRun) -> Path:
        return self.out / "runs" / run.folder

    def result(self, run: Run) -> Record | None:
        """The recorded result of a run; None if it is missing or damaged."""
        with contextlib.suppress(OSError, ValueError):
            return parse_record((self.folder(run) / "result.json").read_bytes())
        return None

    def same(
        self, command: list[str], data: Path, names: Mapping[str, str], *begins: str
    ) -> Record:
        """The key of a job, independent of the locations of the study and its inputs."""
        names = {str(self.out): "OUT", **names, self.user_dir: os.path.basename(self.user_dir)}
        encoder = Path(self.study["encoder"])
        if encoder.exists():
            names = {**names, str(encoder.resolve()): "ENCODER"}
        return {
            "command": portable(command, names),
            "files": [digest_of(path) for path in begins],
            "data_digest": digest_of(str(data)),
        }

    def do(
        self, folder: Path, names: Record, same: Record, make: Callable[[], Record]
    ) -> tuple[Record, bool]:
        """The recorded result of the same command on the same files, or a new one."""
        result = self._known(folder / "result.json", same)
        is_new = result is None
        if is_new:
            result = {**names, **same, "status": "done", **make(), "versions": VERSIONS}
            result.update(self.code)
            atomic_write(folder / "result.json", json.dumps(result))
        elif result.get("code") != self.code.get("code"):
            self.of_other_code.add(str(folder))
        failed = folder / "error.json"
        if is_new or failed.exists():
            failed.unlink(missing_ok=True)
            self.write_results()
        return result, is_new

    def _known(self, path: Path, same: Record) -> Record | None:
        if not path.exists():
            return None
        try:
            result = parse_record(path.read_bytes())
            missing = {"layers", "parameters", "bytes", *same} - {*result}
            if missing:
                raise ValueError(f"no {', '.join(sorted(missing))}")
        except (OSError, ValueError) as error:
            print(f"{path} is damaged, so its job is done again: {error}", flush=True)
            return None
        return result if all(result[key] == value for key, value in same.items()) else None

    def write_results(self) -> None:
        """Write OUT/results.jsonl, with all results in the folder in the order of their times."""
        with self.lock(self.out / RESULTS):
            found = {}
            for path in self._written():
                # damaged, or just removed by another process that does it again
                with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                    record = from_json(path.read_bytes())
                    lines = [check_record(line) for line in record.get("lines", [record])]
                    found[path.stat().st_mtime_ns, path] = lines
            lines = [json.dumps(line) + "\n" for key in sorted(found) for line in found[key]]
            atomic_write(self.out / RESULTS, "".join(lines))

    def _written(self) -> Iterator[Path]:
        for top in ("runs", "speed"):
            # os.walk leaves out folders that vanish, where glob raises an error
            for folder, _, files in os.walk(self.out / top):
                yield from (Path(folder, name) for name in RECORDS if name in files)
