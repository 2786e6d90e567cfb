"""The jobs of a study: teachers, students, their speed; each is done once, by any process.

What a job leaves in its folder: records.py.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..output import atomic_write
from ..results import GOLD, TEACHER, Run, headlines
from ..sizes import size_of
from . import plan
from .commands import (
    Commands,
    Device,
    JobFailed,
    begin,
    compare_command,
    train_command,
    valid_splits,
)
from .constant import constant_scores
from .inputs import Inputs, examples_in
from .log import read_log, scored
from .plan import TeacherRun
from .records import Record, Records


class Jobs(Records):
    """Does the jobs of a study in the folder ``out``."""

    def __init__(self, study: Mapping[str, Any]):
        super().__init__(study, Commands())
        self.inputs = Inputs(study, self.out, self.commands)
        self._begun: set[TeacherRun] = set()
        self._failed: dict[TeacherRun, str] = {}

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
        same = self.same(command, data, {checkpoint: TEACHER} if given else {}, *begins)

        def make() -> Record:
            if given:
                begin(folder, same["command"])
                metrics = {split: self._score(data, checkpoint, folder, split, device)
                           for split in valid_splits(data)}  # fmt: skip
                return {"metrics": metrics, **size_of(checkpoint)}
            return {**self._train(command, folder, device, same), **size_of(checkpoint)}

        result, is_new = self.do(folder, {**teacher._asdict(), "arm": TEACHER}, same, make)
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
        same = self.same(command, data, names, checkpoint, *begins)

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

        _, is_new = self.do(folder, run._asdict(), same, make)
        if is_new and self.study["keep"] == "first" and run.seed != self.study["seeds"][0]:
            (folder / "checkpoint_last.pt").unlink()
        return "done" if is_new else "already done"

    # --- both ---

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
