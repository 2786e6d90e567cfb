"""The jobs of a study: encoder, data, teachers, students; each made once, by whoever comes first.

A folder that several processes or machines may want to make is locked while one of them does, and
holds `result.json` once it is complete.
"""

import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from fairseq.data import data_utils

from . import study_plan
from .results import GOLD, TEACHER, Run, append_result
from .study_commands import compare_command, portable, train_command
from .study_log import read_log, scored, size_of
from .study_plan import TeacherRun
from .study_processes import Commands, Device, JobFailed, begin, command_of, locked

RESULTS = "results.jsonl"


class Jobs:
    """What makes the parts of a study in the folder ``out``."""

    def __init__(self, study: Mapping[str, Any]):
        self.study = study
        self.out = Path(study["out"]).resolve()
        self.commands = Commands()
        self._failed: Dict[TeacherRun, str] = {}

    # --- what runs begin with ---

    def encoder(self) -> Path:
        """The pre-trained encoder as a fairseq checkpoint, with its tokenizer."""
        source = Path(self.study["encoder"])
        if (source / "model.pt").exists():
            return source.resolve()
        folder = self.out / "encoder"
        return self._make(folder, "import_hf", str(source), str(folder))

    def data(self, task: str, name: str, part: Optional[Run] = None) -> Path:
        """The task's binarised data: of the whole split, or of a run's part of it."""
        glue, folder = str(self.study["glue"][name]), self.out / "data" / name / task
        if part is not None:
            glue = glue.format(fraction=f"{part.fraction:g}", seed=part.seed)
            folder = folder / f"{part.fraction:g}-seed{part.seed}"
        kind, _, path = str(self.study["tokenizer"]).partition(":")
        arguments = ["--glue", os.path.join(glue, task), "--task", task, "--out", str(folder)]
        arguments += ["--tokenizer", f"{kind}:{path or self.encoder()}"]
        arguments += ["--max-tokens", str(study_plan.teacher_settings(self.study, task)["length"])]
        return self._make(folder, "encode", *arguments, *self.study["encode_flags"].get(name, []))

    def _make(self, folder: Path, tool: str, *arguments: str) -> Path:
        """A folder by one of our tools, which write all of it or nothing.

        Raises:
            ValueError: where it is there, made by another command.
        """
        command = [sys.executable, "-m", f"mixkd_plugin.tools.{tool}", *arguments]
        log = folder.with_name(f"{folder.name}.log")
        with locked(folder):
            if not folder.exists():
                log.unlink(missing_ok=True)
                self.commands.call(command, log)
            elif command_of(log) != shlex.join(command):
                raise ValueError(f"{folder} was made with other settings; allowed: another out")
        return folder

    def teacher(self, teacher: TeacherRun, device: Device) -> Dict[str, Any]:
        """A teacher's result, trained or scored if it was not; ``checkpoint`` says where it is."""
        folder = self.out / "runs" / teacher.folder
        with locked(folder):
            if teacher in self._failed:
                raise JobFailed(f"its teacher failed: {self._failed[teacher]}")
            try:
                return self._teacher(teacher, folder, device)
            except JobFailed as error:
                self._failed[teacher] = str(error)
                raise

    def _teacher(self, teacher: TeacherRun, folder: Path, device: Device) -> Dict[str, Any]:
        settings = study_plan.teacher_settings(self.study, teacher.task)
        data, given = self.data(teacher.task, GOLD), settings.get("teacher")
        if given:
            command = compare_command(data, folder / "compare", given)
        else:
            flags = study_plan.train_flags(settings, examples_in(data, teacher.fraction))
            flags += ["--student-init-path", str(self.encoder() / "model.pt")]
            flags += ["--train-fraction", f"{teacher.fraction:g}"]
            command = train_command(data, flags, teacher.seed, folder, points=1)
        known = self._finished(folder, command)
        if known is not None:
            return known
        if given:
            begin(folder, command)
            self.commands.call(command, folder / "run.log", device.environment)
            result = {"metrics": {"valid": scored(folder / "compare")}}
        else:
            result = self._run(command, folder, device)
        result["checkpoint"] = given or str(folder / "checkpoint_last.pt")
        result.update(size_of(Path(result["checkpoint"])))
        names = {**teacher._asdict(), "arm": TEACHER, "command": portable(command, self.out)}
        return self._record(folder, result, **names)

    # --- runs ---

    def student(self, run: Run, device: Device) -> str:
        """Do a run unless it is done: 'done', 'already done', 'elsewhere', or what failed."""
        folder = self.out / "runs" / run.folder
        with locked(folder, wait=False) as mine:
            if not mine:
                return "elsewhere"
            try:
                return self._student(run, folder, device)
            except (JobFailed, ValueError, OSError) as error:
                message = f"{type(error).__name__}: {error}"
                self._append({**run._asdict(), "status": "failed", "error": message})
                return f"failed: {message}"

    def _student(self, run: Run, folder: Path, device: Device) -> str:
        settings = study_plan.settings_of(self.study, run)
        gold = self.data(run.task, GOLD)
        part = "{fraction}" in str(self.study["glue"][run.data])
        data = self.data(run.task, run.data, run) if part else self.data(run.task, run.data)
        teacher = self.teacher(study_plan.teacher_of(self.study, run), device)
        init = {"teacher": teacher["checkpoint"], "encoder": str(self.encoder() / "model.pt")}
        if settings["init"] not in init:
            raise ValueError(f"init: {settings['init']!r}; allowed: {', '.join(init)}")
        flags = study_plan.train_flags(settings, examples_in(gold, run.fraction))
        flags += ["--train-fraction", "1" if part else f"{run.fraction:g}"]
        flags += ["--student-init-path", init[settings["init"]]]
        flags += ["--teacher-path", teacher["checkpoint"]]
        flags += ["--teacher-cache", str(self.out / "teacher_answers")]
        splits = ["train"] if self.study["gap"] else []
        points = int(self.study["points"])
        command = train_command(data, flags, run.seed, folder, points, splits)
        if self._finished(folder, command) is not None:
            return "already done"
        result = {**self._run(command, folder, device), **size_of(folder / "checkpoint_last.pt")}
        result["examples"] = result["examples"] or examples_in(data, 1.0)
        result["mixes_per_example"] = study_plan.mixes_per_example(settings)
        result["teacher_queries"] = study_plan.teacher_queries(settings, result["examples_seen"])
        result["teacher"] = {k: teacher[k] for k in ("metrics", "layers", "parameters", "bytes")}
        self._record(folder, result, **run._asdict(), command=portable(command, self.out))
        if self.study["keep"] == "first" and run.seed != self.study["seeds"][0]:
            (folder / "checkpoint_last.pt").unlink()
        return "done"

    def _run(self, command: List[str], folder: Path, device: Device) -> Dict[str, Any]:
        command, began = [*command, *device.flags], time.time()
        begin(folder, command)
        self.commands.call(command, folder / "run.log", device.environment)
        log = read_log((folder / "run.log").read_text(errors="replace"))
        if not log.curve:
            raise JobFailed(f"{folder / 'run.log'} has no validation")
        for file in folder.glob("checkpoint*.pt"):
            if file.name != "checkpoint_last.pt":
                file.unlink()
        last = log.curve[-1]
        return {
            "metrics": {
                split: values for split, values in last.items() if isinstance(values, dict)
            },
            "curve": log.curve,
            "updates": log.updates,
            "examples": log.examples,
            "examples_seen": log.examples_seen,
            "seconds": round(time.time() - began, 1),
            "device": "CPU" if device.gpu is None else torch.cuda.get_device_name(device.gpu),
            "threads": device.threads,
        }

    def _finished(self, folder: Path, command: List[str]) -> Optional[Dict[str, Any]]:
        """The result of the same command, where it is there."""
        if not (folder / "result.json").exists():
            return None
        result = json.loads((folder / "result.json").read_text())
        return result if result["command"] == portable(command, self.out) else None

    # --- speed, and the file of results ---

    def speeds(self, runs: Sequence[Run]) -> None:
        """Sentences a second of teacher and students of each task, side by side on the CPU."""
        for task in sorted({run.task for run in runs}):
            students: Dict[str, Run] = {}
            for run in runs:
                if run.task == task and self._checkpoint(run).exists():
                    students.setdefault(run.student, run)
            folder = self.out / "speed" / task
            with locked(folder):
                if students and not (folder / "compare" / "compare.json").exists():
                    self._speed(task, students, folder)

    def _speed(self, task: str, students: Mapping[str, Run], folder: Path) -> None:
        of_first = study_plan.teacher_of(self.study, next(iter(students.values())))
        teacher = self.teacher(of_first, Device(None, 1))["checkpoint"]
        paths = {name: str(self._checkpoint(run)) for name, run in students.items()}
        command = compare_command(self.data(task, GOLD), folder / "compare", teacher, paths)
        begin(folder, command)
        self.commands.call(command, folder / "run.log")
        models = json.loads((folder / "compare" / "compare.json").read_text())["models"]
        for student in students:
            line = {"kind": "speed", "task": task, "student": student}
            for prefix, name in (("", student), ("teacher_", "teacher")):
                for key in ("sentences_per_second", "parameters"):
                    line[prefix + key] = models[name][key]
            self._append(line)

    def _checkpoint(self, run: Run) -> Path:
        return self.out / "runs" / run.folder / "checkpoint_last.pt"

    def _record(self, folder: Path, result: Dict[str, Any], **names) -> Dict[str, Any]:
        result = {**names, "status": "done", **result, "versions": VERSIONS}
        with open(folder / "result.json.tmp", "w") as file:
            json.dump(result, file)
        self._append({key: value for key, value in result.items() if key != "checkpoint"})
        os.replace(folder / "result.json.tmp", folder / "result.json")
        return result

    def _append(self, result: Dict[str, Any]) -> None:
        with locked(self.out / RESULTS):
            append_result(str(self.out / RESULTS), result)


VERSIONS = {"python": platform.python_version(), "torch": torch.__version__}


def examples_in(data: Path, fraction: float) -> int:
    """About how many training examples a fraction has."""
    everything = data_utils.load_indexed_dataset(str(data / "input0" / "train"), None)
    return max(1, round(fraction * len(everything)))
