"""The jobs of a study: teachers, students, their speed; each is done once, by any process.

A process locks the folder of the job that it does, against other processes and machines. Then the
folder has `result.json` or `error.json`, from which OUT/results.jsonl is made.
"""

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic_core import from_json

from ..locks import locked
from ..output import atomic_write
from ..results import GOLD, TEACHER, Run, check_record, headlines, parse_record
from ..sizes import size_of
from . import plan
from .commands import (
    PLUGIN,
    Commands,
    Device,
    JobFailed,
    begin,
    compare_command,
    portable,
    train_command,
    valid_splits,
)
from .constant import constant_scores
from .inputs import Inputs, digest_of, examples_in
from .log import read_log, scored
from .plan import TeacherRun

RESULTS = "results.jsonl"
VERSIONS = {"python": platform.python_version(), "torch": torch.__version__}
Record = dict[str, Any]


class Jobs:
    """Does the jobs of a study in the folder ``out``."""

    def __init__(self, study: Mapping[str, Any]):
        self.study = study
        self.out = Path(study["out"]).resolve()
        self.commands = Commands()
        self.inputs = Inputs(study, self.out, self.commands)
        self.user_dir = os.path.abspath(study["user_dir"] or PLUGIN)
        # our own code is not compared
        self.code = {"code": self._digest_of_code()} if study["user_dir"] else {}
        self.of_other_code: set[str] = set()
        self._begun: set[TeacherRun] = set()
        self._failed: dict[TeacherRun, str] = {}
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.write_results()
        except OSError as error:
            raise ValueError(
                f"out must be a folder that can be written and locked, got {self.out}: {error}"
            ) from error

    def lock(self, folder: Path, wait: bool = True):
        return locked(folder, wait, self.commands.check)

    # --- teachers ---

    def teacher(self, teacher: TeacherRun, device: Device) -> Record:
        """A teacher's result, after training or scoring it if needed, with its ``checkpoint``."""
        folder = self.folder(teacher)
        with self.lock(folder):
            if teacher in self._failed:
                raise JobFailed(f"its teacher failed: {self._failed[teacher]}")
            try:
                return self._teacher(teacher, folder, device)
            except JobFailed as error:
                self._failed[teacher] = str(error)
                raise

    def may_begin(self, teacher: TeacherRun) -> bool:
        """Whether a run with it can start now: it is done, or this run is the first to make it."""
        folder = self.folder(teacher)
        if (folder / "result.json").exists() or teacher in self._failed:
            return True
        if teacher in self._begun:
            return False
        with self.lock(folder, wait=False) as free:
            if free:
                self._begun.add(teacher)
            return free

    def _teacher(self, teacher: TeacherRun, folder: Path, device: Device) -> Record:
        settings = plan.teacher_settings(self.study, teacher.task)
        data, given = self.inputs.data(teacher.task, GOLD), settings.get("teacher")
        checkpoint = os.path.abspath(given or folder / "checkpoint_last.pt")
        if given:
            begins = [checkpoint]
            command = self._compare(data, folder, "valid", {"teacher": checkpoint})
        else:
            begins = self._init(settings["init"])
            flags = plan.train_flags(settings, examples_in(data, teacher.fraction))
            flags += [word for path in begins for word in ("--student-init-path", path)]
            flags += ["--train-fraction", f"{teacher.fraction:g}"]
            command = train_command(
                data, flags, teacher.seed, folder, points=1, user_dir=self.user_dir
            )
        same = self._same(command, data, {checkpoint: TEACHER} if given else {}, *begins)

        def make() -> Record:
            if given:
                begin(folder, same["command"])
                metrics = {split: self._score(data, checkpoint, folder, split, device)
                           for split in valid_splits(data)}  # fmt: skip
                return {"metrics": metrics, **size_of(checkpoint)}
            return {**self._train(command, folder, device, same), **size_of(checkpoint)}

        result, is_new = self._do(folder, {**teacher._asdict(), "arm": TEACHER}, same, make)
        if is_new:
            found = [f"{key} {value:.1f}" for key, value in result["metrics"]["valid"].items()
                     if key in headlines(teacher.task)]  # fmt: skip
            print(f"teacher {teacher.folder}: {', '.join(found)}", flush=True)
        return {**result, "checkpoint": checkpoint}

    def _init(self, where: str, teacher: str = "") -> list[str]:
        """The checkpoint that initialises a run, if any."""
        if where in ("teacher", "scratch"):
            return [teacher] if where == "teacher" else []
        inputs = self.inputs
        folder = inputs.encoder() if where == "encoder" else inputs.other_encoder(where)
        return [str(folder / "model.pt")]

    def _compare(self, data: Path, out: Path, split: str, models: Mapping[str, str]) -> list[str]:
        return compare_command(data, out / split, models, split, self.user_dir)

    def _score(self, data: Path, teacher: str, folder: Path, split: str, device: Device):
        """The quality of a teacher given by the user."""
        command = self._compare(data, folder, split, {"teacher": teacher})
        self.commands.call(f"compare {split}", command, folder / "run.log", device.environment)
        return scored(folder / split)

    # --- students ---

    def student(self, run: Run, device: Device) -> str:
        """Do a run unless it is done: 'done', 'already done', 'elsewhere', or 'failed: ...'."""
        folder = self.folder(run)
        try:
            with self.lock(folder, wait=False) as mine:
                return self._student(run, folder, device) if mine else "elsewhere"
        except Exception as error:  # the other runs continue
            message = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
            folder.mkdir(parents=True, exist_ok=True)
            failed = {**run._asdict(), "status": "failed", "error": message}
            atomic_write(folder / "error.json", json.dumps(failed))
            self.write_results()
            return f"failed: {message}"
        finally:
            self._begun.discard(plan.teacher_of(self.study, run))

    def _student(self, run: Run, folder: Path, device: Device) -> str:
        settings = plan.settings_of(self.study, run)
        gold = self.inputs.data(run.task, GOLD)
        part = "{fraction}" in self.study["glue"][run.data]
        data = self.inputs.data(run.task, run.data, run if part else None)
        teacher = self.teacher(plan.teacher_of(self.study, run), device)
        checkpoint = teacher["checkpoint"]
        begins = self._init(settings["init"], checkpoint)
        flags = plan.train_flags(settings, examples_in(gold, run.fraction))
        flags += ["--train-fraction", "1" if part else f"{run.fraction:g}"]
        flags += [word for path in begins for word in ("--student-init-path", path)]
        flags += ["--teacher-path", checkpoint]
        flags += ["--teacher-cache", str(self.out / "teacher_answers")]
        splits = ["train"] if self.study["gap"] else []
        points = self.study["points"]
        command = train_command(data, flags, run.seed, folder, points, splits, self.user_dir)
        # a given teacher has the same name, independent of its location
        names = {} if Path(checkpoint).is_relative_to(self.out) else {checkpoint: TEACHER}
        same = self._same(command, data, names, checkpoint, *begins)

        def make() -> Record:
            result = self._train(command, folder, device, same)
            of_teacher = {k: teacher[k] for k in ("metrics", "layers", "parameters", "bytes")}
            return {
                **result,
                **size_of(str(folder / "checkpoint_last.pt")),
                "mixes_per_example": plan.mixes_per_example(settings),
                "teacher_queries": plan.teacher_queries(settings, result["examples_seen"]),
                "teacher": of_teacher,
                "constant": {split: constant_scores(gold, split) for split in valid_splits(gold)},
            }

        _, is_new = self._do(folder, run._asdict(), same, make)
        if is_new and self.study["keep"] == "first" and run.seed != self.study["seeds"][0]:
            (folder / "checkpoint_last.pt").unlink()
        return "done" if is_new else "already done"

    # --- any job ---

    def _same(
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

    def _do(
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

    def _train(self, command: list[str], folder: Path, device: Device, same: Record) -> Record:
        """Train, or resume a run with the same key ``same``."""
        contents = " ".join([*same["files"], same["data_digest"]])
        name, began = f"{same['command']} # {contents}", time.time()
        begin(folder, name)
        command = [*command, *device.flags]
        self.commands.call(name, command, folder / "run.log", device.environment)
        log = read_log((folder / "run.log").read_text(errors="replace"))
        if not log.curve:
            raise JobFailed(f"{folder / 'run.log'} has no validation")
        for file in folder.glob("checkpoint*.pt"):
            if file.name != "checkpoint_last.pt":
                file.unlink()
        return {
            "metrics": {k: v for k, v in log.curve[-1].items() if isinstance(v, dict)},
            **log._asdict(),
            "seconds": round(time.time() - began, 1),
            "device": "CPU" if device.gpu is None else torch.cuda.get_device_name(device.gpu),
            "threads": device.threads,
        }

    def folder(self, run: Run | TeacherRun) -> Path:
        return self.out / "runs" / run.folder

    def result(self, run: Run) -> Record | None:
        """The recorded result of a run; None if it is missing or damaged."""
        with contextlib.suppress(OSError, ValueError):
            return parse_record((self.folder(run) / "result.json").read_bytes())
        return None

    def _digest_of_code(self) -> str:
        return digest_of(*sorted(map(str, Path(self.user_dir).rglob("*.py"))))

    # --- the file of results ---

    def write_results(self) -> None:
        """Write OUT/results.jsonl, with all results in the folder in the order of their times."""
        with self.lock(self.out / RESULTS):
            found = {}
            for pattern in ("runs/**/result.json", "runs/**/error.json", "speed/*/result.json"):
                for path in self.out.glob(pattern):
                    # damaged, or just removed by another process that does it again
                    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                        record = from_json(path.read_bytes())
                        lines = [check_record(line) for line in record.get("lines", [record])]
                        found[path.stat().st_mtime_ns, path] = lines
            lines = [json.dumps(line) + "\n" for key in sorted(found) for line in found[key]]
            atomic_write(self.out / RESULTS, "".join(lines))
