"""The commands of a study: their words, devices, logs, and how all are stopped."""

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

from ...data.mixup_kinds import MIXUP_KINDS
from ...data.mixup_plan import PAIRINGS
from ...losses import DISTANCES
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

    ``flags`` have --max-update, and task and criterion if they are not ours. If the optimizer's
    state is saved, a checkpoint for resuming is written at every validation. The device is
    added later, since a run is the same on all.
    """
    of_data = (data / "train_flags.txt").read_text().split()
    every = str(math.ceil(int(flags[flags.index("--max-update") + 1]) / points))
    saving = ["--save-interval-updates", every, "--keep-interval-updates", "1"]
    return [
        sys.executable, "-m", "fairseq_cli.train", str(data), "--user-dir", user_dir,
        *USUAL, *of_data, *flags,
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


def portable(command: list[str], names: Mapping[str, str]) -> str:
    """A command without paths of this machine; two equal ones are the same job.

    names: the replacement of each path and of the paths in it
    """
    _, _, module, *words = command
    start = "fairseq-train" if module == "fairseq_cli.train" else f"python -m {module}"
    for path, name in {**names, str(PLUGIN): "mixkd_plugin"}.items():
        known = re.compile(rf"(?<![\w.-]){re.escape(path)}(?=/|$)")
        words = [known.sub(name, word) for word in words]
    return f"{start} {shlex.join(words)}"


REGISTERED = {  # flags whose values a package may add
    "distill_distance": DISTANCES,
    "mixup_pairing": PAIRINGS,
    "mixup_kind": MIXUP_KINDS,
}


def check_flags(study: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Parse the flags of every kind of run, and of the teachers, by fairseq's own parser.

    Raises:
        ValueError: for flags that `fairseq-train` rejects, with the first such run.
    """
    import_user_dir(study["user_dir"])
    kinds: dict[str, tuple[str, Any]] = {}  # the first run of each settings
    for run in runs:
        teacher, of_teacher = plan.teacher_of(study, run), plan.teacher_settings(study, run.task)
        for one, settings in ((run, plan.settings_of(study, run)), (teacher, of_teacher)):
            kinds.setdefault(repr(settings), (one.folder, settings))
    for folder, settings in kinds.values():
        begins = [] if settings["init"] == "scratch" else ["--student-init-path", "FILE"]
        flags = [*plan.train_flags(settings, examples=1), *begins]
        printed = io.StringIO()
        try:
            with contextlib.redirect_stderr(printed):
                args = options.parse_args_and_arch(
                    options.get_training_parser(),
                    input_args=["DATA", *USUAL, "--num-classes", "2", *flags],
                )
            for key, registry in REGISTERED.items():
                for name in filter(None, str(getattr(args, key, None) or "").split(":")):
                    registry.find(name)
        except (SystemExit, ValueError) as error:
            last = (printed.getvalue().strip().splitlines() or [str(error)])[-1]
            message = last.partition("error: ")[2] or last
            raise ValueError(f"settings of {folder}: {message}") from None


# --- where and how they run ---


class Device(NamedTuple):
    """The device of a job: a GPU's number among the visible ones, or None for the CPU."""

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
    """Runs commands, from several threads, until :meth:`stop`."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        self._beginning = threading.Lock()

    def check(self) -> None:
        """Raise KeyboardInterrupt if the study was stopped."""
        if self.stopped:
            raise KeyboardInterrupt

    def call(
        self, name: str, command: list[str], log: Path, env: dict[str, str] | None = None
    ) -> None:
        """Run a command; its name and then its output are appended to ``log``.

        Raises:
            JobFailed: if it ends with an error.
            KeyboardInterrupt: if the study was stopped.
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
        """End all running commands with their child processes, and start no others."""
        with self._beginning:
            self.stopped = True
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def name_of(log: Path) -> str | None:
    """The name of the command that wrote a log."""
    if not log.exists():
        return None
    with open(log, errors="replace") as file:
        return file.readline().rstrip("\n")


def begin(folder: Path, name: str) -> None:
    """Empty the folder, unless fairseq can resume there from a checkpoint of the same command."""
    resumable = "--no-save-optimizer-state" not in name and (folder / "checkpoint_last.pt").exists()
    if resumable and name_of(folder / "run.log") == name:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
