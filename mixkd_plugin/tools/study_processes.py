"""Commands of a study: where they run, their logs, who may run them, and how all are stopped."""

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Set


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
    """Hold the folder's lock; False where another holds it and ``wait`` is off.

    Commands inherit it: one that outlives a killed study still holds its folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # for those who inherited it as well


class Commands:
    """Runs commands, from several threads, until it is told to stop."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: Set[subprocess.Popen] = set()

    def call(self, command: List[str], log: Path, env: Optional[Dict[str, str]] = None) -> None:
        """Run a command with its output at the end of ``log``.

        Raises:
            JobFailed: where it does not end well.
            KeyboardInterrupt: where the study was stopped.
        """
        with open(log, "a") as file:
            file.write(shlex.join(command) + "\n")
            file.flush()
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=env, close_fds=False,
                start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
            code = process.wait()
            self._running.discard(process)
        if self.stopped:
            raise KeyboardInterrupt
        if code != 0:
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
            raise JobFailed(f"exit {code}, {log}: {' / '.join(filter(None, lines[-3:]))}")

    def stop(self) -> None:
        """End what runs, with all of its own processes, and let nothing else begin."""
        self.stopped = True
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def command_of(log: Path) -> Optional[str]:
    """The command whose output a log holds."""
    if not log.exists():
        return None
    with open(log, errors="replace") as file:
        return file.readline().rstrip("\n")


def begin(folder: Path, command: List[str]) -> None:
    """Empty the folder, unless fairseq can go on there with what the same command left."""
    resumable = "--no-save-optimizer-state" not in command
    if resumable and command_of(folder / "run.log") == shlex.join(command):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
