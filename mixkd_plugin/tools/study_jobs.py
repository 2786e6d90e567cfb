"""The jobs of a study: teachers, students, their speed; each done once, by whoever comes first.

A folder that several processes or machines may want to make is locked while one of them does, and
holds `result.json` once it is complete.
"""

import functools
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Union

import torch

from ..digests import digest_of_file
from . import study_plan
from .results import GOLD, TEACHER, Run, append_result, headlines
from .scoring import size_of
from .study_commands import compare_command, portable, train_command, valid_splits
from .study_inputs import Inputs, examples_in
from .study_log import read_log, scored
from .study_plan import TeacherRun
from .study_processes import Commands, Device, JobFailed, begin, locked

RESULTS = "results.jsonl"


class Jobs:
    """What makes the parts of a study in the folder ``out``."""

    def __init__(self, study: Mapping[str, Any]):
        self.study = study
        self.out = Path(study["out"]).resolve()
        self.commands = Commands()
        self.inputs = Inputs(study, self.out, self.commands)
        self._begun: Set[TeacherRun] = set()
        self._failed: Dict[TeacherRun, str] = {}
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with self._locked(self.out / RESULTS):
                pass
        except OSError as error:
            raise ValueError(
                f"out: {self.out} cannot be written and locked (flock): {error}"
            ) from error

    def _locked(self, folder: Path, wait: bool = True):
        return locked(folder, wait, self.commands.check)

    # --- teachers ---

    def teacher(self, teacher: TeacherRun, device: Device) -> Dict[str, Any]:
        """A teacher's result, trained or scored if it was not; ``checkpoint`` says where it is."""
        folder = self._folder(teacher)
        with self._locked(folder):
            if teacher in self._failed:
                raise JobFailed(f"its teacher failed: {self._failed[teacher]}")
            try:
                return self._teacher(teacher, folder, device)
            except JobFailed as error:
                self._failed[teacher] = str(error)
                raise

    def may_begin(self, teacher: TeacherRun) -> bool:
        """Whether a run of it need not wait for others; where it is to be made, the first may."""
        folder = self._folder(teacher)
        if (folder / "result.json").exists() or teacher in self._failed:
            return True
        if teacher in self._begun:
            return False
        with self._locked(folder, wait=False) as free:
            if free:
                self._begun.add(teacher)
            return free

    def _teacher(self, teacher: TeacherRun, folder: Path, device: Device) -> Dict[str, Any]:
        settings = study_plan.teacher_settings(self.study, teacher.task)
        data, given = self.inputs.data(teacher.task, GOLD), settings.get("teacher")
        encoder = str(self.inputs.encoder() / "model.pt")
        if given:
            command = compare_command(data, folder / "valid", given)
        else:
            flags = study_plan.train_flags(settings, examples_in(data, teacher.fraction))
            flags += ["--student-init-path", encoder]
            flags += ["--train-fraction", f"{teacher.fraction:g}"]
            command = train_command(data, flags, teacher.seed, folder, points=1)
        same = {"command": portable(command, self.out), "files": _files(given or encoder)}
        known = _finished(folder, same)
        if known is not None:
            return known
        if given:
            begin(folder, same["command"])
            result = {"metrics": self._score(data, given, folder, device)}
        else:
            result = self._run(command, folder, device, same["files"])
        result["checkpoint"] = given or str(folder / "checkpoint_last.pt")
        result.update(size_of(Path(result["checkpoint"])))
        found = [f"{key} {value:.1f}" for key, value in result["metrics"]["valid"].items()
                 if key in headlines(teacher.task)]  # fmt: skip
        print(f"teacher {teacher.folder}: {', '.join(found)}", flush=True)
        return self._record(folder, result, **teacher._asdict(), arm=TEACHER, **same)

    def _score(self, data: Path, teacher: str, folder: Path, device: Device) -> Dict[str, Any]:
        """The quality of a teacher of one's own, by split."""
        found = {}
        for split in valid_splits(data):
            command = compare_command(data, folder / split, teacher, split=split)
            name, log = portable(command, self.out), folder / "run.log"
            self.commands.call(name, command, log, device.environment)
            found[split] = scored(folder / split)
        return found

    # --- runs ---

    def student(self, run: Run, device: Device) -> str:
        """Do a run unless it is done: 'done', 'already done', 'elsewhere', or what failed."""
        folder = self._folder(run)
        try:
            with self._locked(folder, wait=False) as mine:
                return self._student(run, folder, device) if mine else "elsewhere"
        except Exception as error:  # whatever it is, the other runs go on
            message = f"{type(error).__name__}: {error}"
            self._append({**run._asdict(), "status": "failed", "error": message})
            return f"failed: {message}"
        finally:
            self._begun.discard(study_plan.teacher_of(self.study, run))

    def _student(self, run: Run, folder: Path, device: Device) -> str:
        settings = study_plan.settings_of(self.study, run)
        gold = self.inputs.data(run.task, GOLD)
        part = "{fraction}" in str(self.study["glue"][run.data])
        data = self.inputs.data(run.task, run.data, run if part else None)
        teacher = self.teacher(study_plan.teacher_of(self.study, run), device)
        encoder = str(self.inputs.encoder() / "model.pt")
        init = teacher["checkpoint"] if settings["init"] == "teacher" else encoder
        flags = study_plan.train_flags(settings, examples_in(gold, run.fraction))
        flags += ["--train-fraction", "1" if part else f"{run.fraction:g}"]
        flags += ["--student-init-path", init]
        flags += ["--teacher-path", teacher["checkpoint"]]
        flags += ["--teacher-cache", str(self.out / "teacher_answers")]
        splits = ["train"] if self.study["gap"] else []
        points = int(self.study["points"])
        command = train_command(data, flags, run.seed, folder, points, splits)
        same = {
            "command": portable(command, self.out),
            "files": _files(teacher["checkpoint"], init),
        }
        if _finished(folder, same) is not None:
            return "already done"
        result = self._run(command, folder, device, same["files"])
        result.update(size_of(folder / "checkpoint_last.pt"))
        result["examples"] = result["examples"] or examples_in(data, 1.0)
        result["mixes_per_example"] = study_plan.mixes_per_example(settings)
        result["teacher_queries"] = study_plan.teacher_queries(settings, result["examples_seen"])
        result["teacher"] = {k: teacher[k] for k in ("metrics", "layers", "parameters", "bytes")}
        self._record(folder, result, **run._asdict(), **same)
        if self.study["keep"] == "first" and run.seed != self.study["seeds"][0]:
            (folder / "checkpoint_last.pt").unlink()
        return "done"

    def _run(
        self, command: List[str], folder: Path, device: Device, files: Sequence[str]
    ) -> Dict[str, Any]:
        """``files``: what it begins with, by which a run that may go on is known, too."""
        name, began = f"{portable(command, self.out)} # {' '.join(files)}", time.time()
        begin(folder, name)
        command = [*command, *device.flags]
        self.commands.call(name, command, folder / "run.log", device.environment)
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

    # --- speed, and the file of results ---

    def speeds(self, runs: Sequence[Run]) -> None:
        """Sentences a second of teacher and students of each task, side by side on the CPU."""
        for task in sorted({run.task for run in runs}):
            students: Dict[str, Run] = {}
            for run in runs:
                if run.task == task and self._checkpoint(run).exists():
                    students.setdefault(run.student, run)
            folder = self.out / "speed" / task
            with self._locked(folder):
                known = folder / "students.json"
                if set(students) - set(json.loads(known.read_text()) if known.exists() else ()):
                    try:
                        self._speed(task, students, folder)
                    except JobFailed as error:
                        print(f"speed of {task}: failed: {error}", flush=True)
                    else:
                        known.write_text(json.dumps(sorted(students)))

    def _speed(self, task: str, students: Mapping[str, Run], folder: Path) -> None:
        of_first = study_plan.teacher_of(self.study, next(iter(students.values())))
        teacher = self.teacher(of_first, Device(None, 1))["checkpoint"]
        paths = {name: str(self._checkpoint(run)) for name, run in students.items()}
        command = compare_command(self.inputs.data(task, GOLD), folder / "compare", teacher, paths)
        begin(folder, portable(command, self.out))
        self.commands.call(portable(command, self.out), command, folder / "run.log")
        models = json.loads((folder / "compare" / "compare.json").read_text())["models"]
        for student in students:
            line = {"kind": "speed", "task": task, "student": student}
            for prefix, name in (("", student), ("teacher_", "teacher")):
                for key in ("sentences_per_second", "parameters"):
                    line[prefix + key] = models[name][key]
            self._append(line)

    def _folder(self, run: Union[Run, TeacherRun]) -> Path:
        return self.out / "runs" / run.folder

    def _checkpoint(self, run: Run) -> Path:
        return self._folder(run) / "checkpoint_last.pt"

    def _record(self, folder: Path, result: Dict[str, Any], **names) -> Dict[str, Any]:
        result = {**names, "status": "done", **result, "versions": VERSIONS}
        with open(folder / "result.json.tmp", "w") as file:
            json.dump(result, file)
        self._append({key: value for key, value in result.items() if key != "checkpoint"})
        os.replace(folder / "result.json.tmp", folder / "result.json")
        return result

    def _append(self, result: Dict[str, Any]) -> None:
        with self._locked(self.out / RESULTS):
            append_result(str(self.out / RESULTS), result)


def _files(*paths: str) -> List[str]:
    """What is in the checkpoints that a job begins with, in short."""
    return [_digest(path, os.stat(path).st_mtime_ns) for path in paths]


@functools.lru_cache(maxsize=None)
def _digest(path: str, changed: int) -> str:
    return digest_of_file(path)[:16]


def _finished(folder: Path, same: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """The result that is there, of the same command on the same files."""
    if not (folder / "result.json").exists():
        return None
    result = json.loads((folder / "result.json").read_text())
    return result if all(result.get(key) == value for key, value in same.items()) else None


VERSIONS = {"python": platform.python_version(), "torch": torch.__version__}
