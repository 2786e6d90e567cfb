"""The commands of a study: what they are, where they run, their logs, and how all are stopped."""

import contextlib
import io
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq import options

from ..cli import import_user_dir
from ..results import Run
from . import plan

PLUGIN = Path(__file__).resolve().parents[2]
USUAL = ("--task", "mixkd_sentence_prediction", "--criterion", "mixkd")  # a later flag wins


class JobFailed(Exception):
    """A command ended with an error; the message holds its last lines."""


# --- what they are ---


def valid_splits(data: Path) -> list[str]:
    return sorted(file.stem for file in (data / "input0").glob("valid*.bin"))


def train_command(
    data: Path,
    flags: list[str],
    seed: int,
    folder: Path,
    points: int,
    more_splits: Sequence[str] = (),
    user_dir: str = str(PLUGIN),
) -> list[str]:
    """`fairseq-train` on a data folder, validating ``points`` times, on ``more_splits`` as well.

    ``flags`` name --max-update, and task and criterion where they are not ours. Where they keep the
    optimizer's state, a checkpoint is written at every validation, to go on from. The device is not
    named: a run is the same on any.
    """
    asked = (data / "train_flags.txt").read_text().split()
    every = str(math.ceil(int(flags[flags.index("--max-update") + 1]) / points))
    saving = ["--save-interval-updates", every, "--keep-interval-updates", "1"]
    return [
        sys.executable, "-m", "fairseq_cli.train", str(data), "--user-dir", user_dir,
        *USUAL, *asked, *flags,
        "--seed", str(seed), "--train-fraction-seed", str(seed),
        "--valid-subset", ",".join([*valid_splits(data), *more_splits]),
        "--validate-interval", "1000000", "--validate-interval-updates", every,
        "--save-interval", "1000000", "--no-epoch-checkpoints", "--save-dir", str(folder),
        "--log-format", "json", "--log-interval", "1000000",
        *([] if "--no-save-optimizer-state" in flags else saving),
    ]  # fmt: skip


def compare_command(
    data: Path, out: Path, models: Mapping[str, str], split: str, user_dir: str
) -> list[str]:
    tool = [sys.executable, "-m", "mixkd_plugin.tools.compare", str(data)]
    own = [] if user_dir == str(PLUGIN) else ["--user-dir", user_dir]
    pairs = [f"{name}={path}" for name, path in models.items()]
    return [*tool, *pairs, "--out", str(out), "--split", split, *own]


def portable(command: list[str], places: Mapping[str, str]) -> str:
    """A command without what is peculiar to this machine: by it, a job is known to be the same.

    places: the name that stands for each path, and for what is in it
    """
    _, _, module, *words = command
    words = [{"fairseq_cli.train": "fairseq-train"}.get(module, f"python -m {module}"), *words]
    start, *words = words
    for path, name in {**places, str(PLUGIN): "mixkd_plugin"}.items():
        whole = re.compile(rf"(?<![\w.-]){re.escape(path)}(?=/|$)")
        words = [whole.sub(name, word) for word in words]
    return f"{start} {shlex.join(words)}"


def check_flags(study: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Of every kind of run, and of the teachers, by fairseq's own parser.

    Raises:
        ValueError: naming the first run whose flags `fairseq-train` does not take.
    """
    import_user_dir(study["user_dir"])
    kinds = {}
    for run in runs:
        kinds.setdefault((run.task, run.student, run.arm, run.variant), run)
        kinds.setdefault(run.task, plan.teacher_of(study, run))
    for run in kinds.values():
        if isinstance(run, Run):
            settings = plan.settings_of(study, run)
        else:
            settings = plan.teacher_settings(study, run.task)
        begins = [] if settings["init"] == "scratch" else ["--student-init-path", "FILE"]
        flags = [*plan.train_flags(settings, examples=1), *begins]
        printed = io.StringIO()
        try:
            with contextlib.redirect_stderr(printed):
                options.parse_args_and_arch(
                    options.get_training_parser(),
                    input_args=["DATA", *USUAL, "--num-classes", "2", *flags],
                )
        except (SystemExit, ValueError) as error:
            last = (printed.getvalue().strip().splitlines() or [str(error)])[-1]
            message = last.partition("error: ")[2] or last
            raise ValueError(f"settings of {run.folder}: {message}") from None


# --- where and how they run ---


class Device(NamedTuple):
    """Where a job runs: a GPU's number among those that the study sees, or None for the CPU."""

    gpu: int | None
    threads: int

    @property
    def environment(self) -> dict[str, str]:
        seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        visible = "" if self.gpu is None else seen[self.gpu] if seen else str(self.gpu)
        own = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        return {**os.environ, **own, "CUDA_VISIBLE_DEVICES": visible}

    @property
    def flags(self) -> list[str]:
        return ["--cpu"] if self.gpu is None else []


class Commands:
    """Runs commands, from several threads, until it is told to stop."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        self._beginning = threading.Lock()

    def check(self) -> None:
        """Raises KeyboardInterrupt where the study was stopped."""
        if self.stopped:
            raise KeyboardInterrupt

    def call(
        self, name: str, command: list[str], log: Path, env: dict[str, str] | None = None
    ) -> None:
        """Run a command with its output at the end of ``log``, after its name.

        Raises:
            JobFailed: where it does not end well.
            KeyboardInterrupt: where the study was stopped.
        """
        with open(log, "a") as file:
            file.write(f"{name}\n{shlex.join(command)}\n")
            file.flush()
            with self._beginning:
                self.check()
                process = subprocess.Popen(
                    command, stdout=file, stderr=subprocess.STDOUT, env=env, close_fds=False,
                    start_new_session=True,
                )  # fmt: skip
                self._running.add(process)
            code = process.wait()
            self._running.discard(process)
        self.check()
        if code != 0:
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
            raise JobFailed(f"exit {code}, {log}: {' / '.join(filter(None, lines[-3:]))}")

    def stop(self) -> None:
        """End what runs, with all of its own processes, and let nothing else begin."""
        with self._beginning:
            self.stopped = True
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def name_of(log: Path) -> str | None:
    """The name of the command whose output a log holds."""
    if not log.exists():
        return None
    with open(log, errors="replace") as file:
        return file.readline().rstrip("\n")


def begin(folder: Path, name: str) -> None:
    """Empty the folder, unless fairseq can go on there with what the same command left."""
    resumable = "--no-save-optimizer-state" not in name and (folder / "checkpoint_last.pt").exists()
    if resumable and name_of(folder / "run.log") == name:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
