"""The jobs of a study: teachers, students, their speed; each done once, by whoever comes first.

A folder that several processes or machines may want to make is locked while one of them does, and
holds `result.json` once it is complete.
"""

import contextlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Union

import torch

from ..report.result_line import GOLD, TEACHER, Run, check_record, headlines, parse_json
from ..report.results import append_result, restore_results
from ..scoring import size_of
from . import plan
from .commands import PLUGIN, compare_command, portable, train_command, valid_splits
from .inputs import Inputs, digest_of, examples_in
from .log import read_log, scored
from .plan import TeacherRun
from .processes import Commands, Device, JobFailed, begin, locked

RESULTS = "results.jsonl"


class Jobs:
    """What makes the parts of a study in the folder ``out``."""

    def __init__(self, study: Mapping[str, Any]):
        self.study = study
        self.out = Path(study["out"]).resolve()
        self.commands = Commands()
        self.inputs = Inputs(study, self.out, self.commands)
        self.user_dir = os.path.abspath(study.get("user_dir") or PLUGIN)
        # None: ours alone; what it does is not among a run's settings
        self.code = self._digest_of_code() if study.get("user_dir") else None
        self.of_other_code: Set[str] = set()
        self._begun: Set[TeacherRun] = set()
        self._failed: Dict[TeacherRun, str] = {}
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with self.lock(self.out / RESULTS):
                restore_results(self.out / RESULTS, self._records())
        except OSError as error:
            raise ValueError(
                f"out: {self.out} cannot be written and locked (flock): {error}"
            ) from error

    def lock(self, folder: Path, wait: bool = True):
        return locked(folder, wait, self.commands.check)

    # --- teachers ---

    def teacher(self, teacher: TeacherRun, device: Device) -> Dict[str, Any]:
        """A teacher's result, trained or scored if it was not; ``checkpoint`` says where it is."""
        folder = self._folder(teacher)
        with self.lock(folder):
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
        with self.lock(folder, wait=False) as free:
            if free:
                self._begun.add(teacher)
            return free

    def _teacher(self, teacher: TeacherRun, folder: Path, device: Device) -> Dict[str, Any]:
        settings = plan.teacher_settings(self.study, teacher.task)
        data, given = self.inputs.data(teacher.task, GOLD), settings.get("teacher")
        checkpoint = os.path.abspath(given or folder / "checkpoint_last.pt")
        if given:
            begins = [checkpoint]
            command = compare_command(data, folder / "valid", checkpoint, user_dir=self.user_dir)
        else:
            begins = self._init(settings["init"])
            flags = plan.train_flags(settings, examples_in(data, teacher.fraction))
            flags += [word for path in begins for word in ("--student-init-path", path)]
            flags += ["--train-fraction", f"{teacher.fraction:g}"]
            command = train_command(
                data, flags, teacher.seed, folder, points=1, user_dir=self.user_dir
            )
        same = self._same(command, data, {checkpoint: TEACHER} if given else {}, *begins)
        known = self._finished(folder, same)
        if known is not None:
            return {**known, "checkpoint": checkpoint}
        if given:
            begin(folder, same["command"])
            result = {"metrics": self._score(data, checkpoint, folder, device)}
        else:
            result = self._run(command, folder, device, same)
        result.update(size_of(checkpoint))
        found = [f"{key} {value:.1f}" for key, value in result["metrics"]["valid"].items()
                 if key in headlines(teacher.task)]  # fmt: skip
        print(f"teacher {teacher.folder}: {', '.join(found)}", flush=True)
        result = self._record(folder, result, **teacher._asdict(), arm=TEACHER, **same)
        return {**result, "checkpoint": checkpoint}

    def _init(self, where: str, teacher: str = "") -> List[str]:
        """The checkpoint that a run begins with, if any."""
        if where == "encoder":
            return [str(self.inputs.encoder() / "model.pt")]
        return [teacher] if where == "teacher" else []

    def _same(
        self, command: List[str], data: Path, places: Mapping[str, str], *begins: str
    ) -> Dict[str, Any]:
        """By what a job is known to be the same, wherever the study's folder and its inputs are."""
        places = {str(self.out): "OUT", **places, self.user_dir: os.path.basename(self.user_dir)}
        encoder = Path(self.study["encoder"])
        if encoder.exists():
            places = {**places, str(encoder.resolve()): "ENCODER"}
        return {
            "command": portable(command, places),
            "files": [digest_of(path) for path in begins],
            "data_digest": digest_of(str(data)),
        }

    def _score(self, data: Path, teacher: str, folder: Path, device: Device) -> Dict[str, Any]:
        """The quality of a teacher of one's own, by split."""
        found = {}
        for split in valid_splits(data):
            command = compare_command(
                data, folder / split, teacher, split=split, user_dir=self.user_dir
            )
            name = f"compare {split}"
            self.commands.call(name, command, folder / "run.log", device.environment)
            found[split] = scored(folder / split)
        return found

    # --- runs ---

    def student(self, run: Run, device: Device) -> str:
        """Do a run unless it is done: 'done', 'already done', 'elsewhere', or what failed."""
        folder = self._folder(run)
        try:
            with self.lock(folder, wait=False) as mine:
                return self._student(run, folder, device) if mine else "elsewhere"
        except Exception as error:  # whatever it is, the other runs go on
            message = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
            self.append({**run._asdict(), "status": "failed", "error": message})
            return f"failed: {message}"
        finally:
            self._begun.discard(plan.teacher_of(self.study, run))

    def _student(self, run: Run, folder: Path, device: Device) -> str:
        settings = plan.settings_of(self.study, run)
        gold = self.inputs.data(run.task, GOLD)
        part = "{fraction}" in str(self.study["glue"][run.data])
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
        points = int(self.study["points"])
        command = train_command(data, flags, run.seed, folder, points, splits, self.user_dir)
        # one name for a teacher of the study's own, wherever it stands
        places = {} if Path(checkpoint).is_relative_to(self.out) else {checkpoint: TEACHER}
        same = self._same(command, data, places, checkpoint, *begins)
        if self._finished(folder, same) is not None:
            return "already done"
        result = self._run(command, folder, device, same)
        result.update(size_of(str(folder / "checkpoint_last.pt")))
        result["mixes_per_example"] = plan.mixes_per_example(settings)
        result["teacher_queries"] = plan.teacher_queries(settings, result["examples_seen"])
        result["teacher"] = {k: teacher[k] for k in ("metrics", "layers", "parameters", "bytes")}
        self._record(folder, result, **run._asdict(), **same)
        if self.study["keep"] == "first" and run.seed != self.study["seeds"][0]:
            (folder / "checkpoint_last.pt").unlink()
        return "done"

    def _run(
        self, command: List[str], folder: Path, device: Device, same: Mapping[str, Any]
    ) -> Dict[str, Any]:
        """``same``: by what a run that may go on is known, too."""
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

    # --- the file of results ---

    def _folder(self, run: Union[Run, TeacherRun]) -> Path:
        return self.out / "runs" / run.folder

    def checkpoint(self, run: Run) -> Path:
        return self._folder(run) / "checkpoint_last.pt"

    def _record(self, folder: Path, result: Dict[str, Any], **names) -> Dict[str, Any]:
        result = {**names, "status": "done", **result, "versions": VERSIONS}
        if self.code is not None:
            result["code"] = self.code
        write_json(folder / "result.json", result)
        self.append(result)
        return result

    def result(self, run: Run) -> Optional[Dict[str, Any]]:
        """What is there of a run, whole."""
        with contextlib.suppress(OSError, ValueError):
            return check_record(parse_json((self._folder(run) / "result.json").read_bytes()))
        return None

    def _finished(self, folder: Path, same: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """The result that is there, of the same command on the same files."""
        path = folder / "result.json"
        if not path.exists():
            return None
        try:
            result = check_record(parse_json(path.read_bytes()))
            missing = {"layers", "parameters", "bytes", *same} - {*result}
            if missing:
                raise ValueError(f"no {', '.join(sorted(missing))}")
        except (OSError, ValueError) as error:
            print(f"{path} is damaged, what it is of is done again: {error}", flush=True)
            return None
        if any(result[key] != value for key, value in same.items()):
            return None
        if result.get("code") != self.code:
            self.of_other_code.add(str(folder))
        return result

    def _digest_of_code(self) -> str:
        return digest_of(*sorted(map(str, Path(self.user_dir).rglob("*.py"))))

    def append(self, result: Dict[str, Any]) -> None:
        with self.lock(self.out / RESULTS):
            append_result(str(self.out / RESULTS), result)

    def _records(self) -> Iterator[Any]:
        """All results that there are, of this study and of others in its folder."""
        for where, one in (("runs", True), ("speed", False)):
            for folder, _, _ in sorted(os.walk(self.out / where)):
                # damaged, not there, or just removed by another process
                with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                    found = parse_json(Path(folder, "result.json").read_bytes())
                    yield from [found] if one else found.get("lines", [])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(json.dumps(content))
    os.replace(unfinished, path)


VERSIONS = {"python": platform.python_version(), "torch": torch.__version__}
