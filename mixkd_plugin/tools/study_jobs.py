"""The jobs of a study: encoder, data, teachers, students; each made once, by whoever comes first.

A folder that several processes or machines may want to make is locked while one of them does
(`flock`), and holds `result.json` once it is complete.
"""

import contextlib
import fcntl
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import torch
from fairseq.data import data_utils

from ..safe_reading import read_checkpoint
from . import study_plan
from .study_log import MEASURES, read_log
from .study_plan import Run, TeacherRun

PLUGIN = Path(__file__).resolve().parents[1]
RESULTS = "results.jsonl"


class JobFailed(Exception):
    """A command ended with an error; the message holds its last lines."""


class Device(NamedTuple):
    """Where a job runs: a GPU's number, or None for CPU threads."""

    gpu: Optional[int]
    threads: int

    @property
    def environment(self) -> Dict[str, str]:
        own = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        own["CUDA_VISIBLE_DEVICES"] = "" if self.gpu is None else str(self.gpu)
        return {**os.environ, **own}

    @property
    def flags(self) -> List[str]:
        return ["--cpu"] if self.gpu is None else []


@contextlib.contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the folder's lock; False where another holds it and ``wait`` is off."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def call(command: List[str], log: Path, environment: Optional[Dict[str, str]] = None) -> None:
    """Run a command with its output in ``log``.

    Raises:
        JobFailed: where it does not end well.
    """
    with open(log, "a") as file:
        file.write(shlex.join(command) + "\n")
        file.flush()
        code = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment
        ).returncode
    if code != 0:
        lines = log.read_text(errors="replace").rstrip().splitlines()
        raise JobFailed(f"exit {code}, {log}: " + " / ".join(line.strip() for line in lines[-3:]))


class Jobs:
    """What makes the parts of a study in the folder ``out``."""

    def __init__(self, study: Mapping[str, Any]):
        self.study = study
        self.out = Path(study["out"]).resolve()

    # --- what runs begin with ---

    def encoder(self) -> Path:
        """The pre-trained encoder as a fairseq checkpoint, with its tokenizer."""
        source = Path(self.study["encoder"])
        if (source / "model.pt").exists():
            return source.resolve()
        folder = self.out / "encoder"
        return self._make(folder, "import_hf", str(source), str(folder))

    def data(self, task: str, name: str) -> Path:
        folder = self.out / "data" / name / task
        kind, _, path = str(self.study["tokenizer"]).partition(":")
        tokenizer = f"{kind}:{path or self.encoder()}"
        arguments = ["--glue", os.path.join(self.study["glue"][name], task), "--task", task]
        arguments += ["--tokenizer", tokenizer, "--out", str(folder)]
        length = study_plan.teacher_settings(self.study, task)["length"]
        arguments += ["--max-tokens", str(length)]
        return self._make(folder, "encode", *arguments, *(self.study["encode_flags"] or []))

    def _make(self, folder: Path, tool: str, *arguments: str) -> Path:
        """A folder by one of our tools, which write all of it or nothing."""
        with locked(folder):
            if not folder.exists():
                log = folder.with_name(f"{folder.name}.log")
                call([sys.executable, "-m", f"mixkd_plugin.tools.{tool}", *arguments], log)
        return folder

    def teacher(self, teacher: TeacherRun, device: Device) -> Dict[str, Any]:
        """A teacher's result, trained or scored if it was not; ``checkpoint`` says where it is."""
        settings = study_plan.teacher_settings(self.study, teacher.task)
        folder = self.out / "runs" / teacher.folder
        data = self.data(teacher.task, "gold")
        with locked(folder):
            given = settings.get("teacher")
            if given:
                command = self._compare(data, folder / "compare", given)
            else:
                flags = study_plan.train_flags(settings, examples_in(data, teacher.fraction))
                beginning = ["--student-init-path", str(self.encoder() / "model.pt")]
                command = self._train(data, teacher, [*flags, *beginning], folder, device)
            known = self._finished(folder, command)
            if known is not None:
                return known
            begin(folder, command)
            if given:
                call(command, folder / "run.log", device.environment)
                result = {"metrics": {"valid": scored(folder / "compare")}}
            else:
                result = self._run(command, folder, device)
            result["checkpoint"] = given or str(folder / "checkpoint_last.pt")
            result.update(size_of(Path(result["checkpoint"])))
            names = {**teacher._asdict(), "arm": "teacher", "command": self._portable(command)}
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
        data = self.data(run.task, run.data)
        teacher = self.teacher(study_plan.teacher_of(self.study, run), device)
        init = {"teacher": teacher["checkpoint"], "encoder": str(self.encoder() / "model.pt")}
        if settings["init"] not in init:
            raise ValueError(f"init: {settings['init']!r}; allowed: {', '.join(init)}")
        flags = study_plan.train_flags(settings, examples_in(data, run.fraction))
        flags += ["--student-init-path", init[settings["init"]]]
        flags += ["--teacher-path", teacher["checkpoint"]]
        flags += ["--teacher-cache", str(self.out / "teacher_answers")]
        command = self._train(data, run, flags, folder, device)
        if self._finished(folder, command) is not None:
            return "already done"
        begin(folder, command)
        result = {**self._run(command, folder, device), **size_of(folder / "checkpoint_last.pt")}
        result["mixes_per_example"] = study_plan.mixes_per_example(settings)
        result["teacher_queries"] = study_plan.teacher_queries(settings, result["examples_seen"])
        result["teacher"] = {k: teacher[k] for k in ("metrics", "layers", "parameters", "bytes")}
        self._record(folder, result, **run._asdict(), command=self._portable(command))
        if self.study["keep"] == "first" and run.seed != self.study["seeds"][0]:
            (folder / "checkpoint_last.pt").unlink()
        return "done"

    def _train(self, data: Path, run, flags: List[str], folder: Path, device: Device) -> List[str]:
        asked = (data / "train_flags.txt").read_text().split()
        splits = sorted(f.name[:-4] for f in (data / "input0").glob("valid*.bin"))
        points = 1
        if isinstance(run, Run):
            splits += ["train"] if self.study["gap"] else []
            points = int(self.study["points"])
        every = max(1, math.ceil(updates_in(flags) / points))
        return [
            sys.executable, "-m", "fairseq_cli.train", str(data), "--user-dir", str(PLUGIN),
            "--task", "mixkd_sentence_prediction", "--criterion", "mixkd", *asked, *flags,
            "--seed", str(run.seed), "--train-fraction", f"{run.fraction:g}",
            "--train-fraction-seed", str(run.seed), "--valid-subset", ",".join(splits),
            "--validate-interval", "1000000", "--validate-interval-updates", str(every),
            "--save-interval", "1000000", "--no-epoch-checkpoints", "--save-dir", str(folder),
            "--log-format", "json", "--log-interval", "1000000", *device.flags,
        ]  # fmt: skip

    def _run(self, command: List[str], folder: Path, device: Device) -> Dict[str, Any]:
        began = time.time()
        call(command, folder / "run.log", device.environment)
        log = read_log((folder / "run.log").read_text(errors="replace"))
        if not log.curve:
            raise JobFailed(f"{folder / 'run.log'} has no validation")
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
        return result if result["command"] == self._portable(command) else None

    def _portable(self, command: List[str]) -> str:
        """A command without what is peculiar to this machine."""
        text = shlex.join(command).replace(
            f"{sys.executable} -m fairseq_cli.train", "fairseq-train"
        )
        text = text.replace(f"{sys.executable} -m", "python -m")
        return text.replace(str(PLUGIN), "mixkd_plugin").replace(str(self.out), "OUT")

    # --- speed, and the file of results ---

    def speeds(self, runs: Sequence[Run]) -> None:
        """Sentences a second of teacher and students of each task, side by side on the CPU."""
        for task in sorted({run.task for run in runs}):
            students: Dict[str, Run] = {}
            for run in runs:
                if run.task == task and self._checkpoint(run).exists():
                    students.setdefault(run.student, run)
            folder = self.out / "speed" / task
            teachers = {study_plan.teacher_of(self.study, run) for run in students.values()}
            if not students or (folder / "compare" / "compare.json").exists():
                continue
            teacher = self.teacher(teachers.pop(), Device(None, 1))["checkpoint"]
            paths = {name: str(self._checkpoint(run)) for name, run in students.items()}
            command = self._compare(self.data(task, "gold"), folder / "compare", teacher, paths)
            begin(folder, command)
            call(command, folder / "run.log")
            models = json.loads((folder / "compare" / "compare.json").read_text())["models"]
            for student in students:
                line = {"kind": "speed", "task": task, "student": student}
                for prefix, name in (("", student), ("teacher_", "teacher")):
                    for key in ("sentences_per_second", "parameters"):
                        line[prefix + key] = models[name][key]
                self._append(line)

    def _checkpoint(self, run: Run) -> Path:
        return self.out / "runs" / run.folder / "checkpoint_last.pt"

    def _compare(
        self,
        data: Path,
        out: Path,
        teacher: str,
        students: Mapping[str, str] = MappingProxyType({}),
    ) -> List[str]:
        pairs = [f"{name}={path}" for name, path in {"teacher": teacher, **students}.items()]
        tool = [sys.executable, "-m", "mixkd_plugin.tools.compare"]
        return [*tool, str(data), *pairs, "--out", str(out)]

    def _record(self, folder: Path, result: Dict[str, Any], **names) -> Dict[str, Any]:
        result = {**names, "status": "done", **result, "versions": VERSIONS}
        text = json.dumps(result)
        with open(folder / "result.json.tmp", "w") as file:
            file.write(text)
        self._append(result)
        os.replace(folder / "result.json.tmp", folder / "result.json")
        return result

    def _append(self, result: Dict[str, Any]) -> None:
        with locked(self.out / RESULTS), open(self.out / RESULTS, "a") as file:
            file.write(json.dumps(result) + "\n")


VERSIONS = {"python": platform.python_version(), "torch": torch.__version__}


def begin(folder: Path, command: List[str]) -> None:
    """Empty the folder, unless fairseq can go on there with what the same command left."""
    log = folder / "run.log"
    if log.exists() and "--no-save-optimizer-state" not in command:
        with open(log, errors="replace") as file:
            if file.readline().rstrip() == shlex.join(command):
                return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def size_of(checkpoint: Path) -> Dict[str, int]:
    """Layers, parameters and bytes of a student or teacher: what serving it needs."""
    tensors = read_checkpoint(str(checkpoint))["model"]
    names = [name for name in tensors if not name.endswith(".version")]
    layers = {name.split(".layers.")[1].split(".")[0] for name in names if ".layers." in name}
    distinct = {tensors[name].data_ptr(): tensors[name] for name in names}.values()  # some are tied
    return {
        "layers": len(layers),
        "parameters": sum(t.numel() for t in distinct),
        "bytes": sum(t.numel() * t.element_size() for t in distinct),
    }


def scored(folder: Path) -> Dict[str, float]:
    """The quality of the one checkpoint in a comparison, by the names of our training logs."""
    models = json.loads((folder / "compare.json").read_text())["models"]
    values = {key: v for key, v in models["teacher"].items() if key in MEASURES}
    for mean, parts in (("acc_and_f1", ("accuracy", "f1")),
                        ("pearson_and_spearman", ("pearson", "spearman"))):  # fmt: skip
        if all(part in values for part in parts):
            values[mean] = sum(values[part] for part in parts) / 2
    return values


def examples_in(data: Path, fraction: float) -> int:
    """About how many training examples a fraction has."""
    everything = data_utils.load_indexed_dataset(str(data / "input0" / "train"), None)
    return max(1, round(fraction * len(everything)))


def updates_in(flags: List[str]) -> int:
    return int(flags[flags.index("--max-update") + 1])
