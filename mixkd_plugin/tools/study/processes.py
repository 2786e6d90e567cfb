"""Commands of a study: where they run, their logs, who may run them, and how all are stopped."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Set

POLL_SECONDS = 0.2  # seconds between looks at what another process may have finished


class JobFailed(Exception):
    """A command ended with an error; the message holds its last lines."""


class Device(NamedTuple):
    """Where a job runs: a GPU's number among those that the study sees, or None for the CPU."""

    gpu: Optional[int]
    threads: int

    @property
    def environment(self) -> Dict[str, str]:
        own = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        if self.gpu is None:
            own["CUDA_VISIBLE_DEVICES"] = ""
        else:
            own["CUDA_VISIBLE_DEVICES"] = seen[self.gpu] if seen else str(self.gpu)
        return {**os.environ, **own}

    @property
    def flags(self) -> List[str]:
        return ["--cpu"] if self.gpu is None else []


def check_locks() -> None:
    """Raise ValueError on a system without locks that commands inherit."""
    try:
        import fcntl  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "this system has no fcntl, by which a study locks its folders: Linux and macOS have"
        ) from error


@contextlib.contextmanager
def locked(
    folder: Path, wait: bool = True, check: Callable[[], None] = lambda: None
) -> Iterator[bool]:
    """Hold the folder's lock; False where another holds it and ``wait`` is off.

    Commands inherit it: one that outlives a killed study still holds its folder. ``check`` is
    called now and then while it waits, and may raise.
    """
    import fcntl

    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as file:
        os.set_inheritable(file.fileno(), True)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    yield False
                    return
            check()
            time.sleep(POLL_SECONDS)
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # for those who inherited it as well


class Commands:
    """Runs commands, from several threads, until it is told to stop."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: Set[subprocess.Popen] = set()
        self._beginning = threading.Lock()

    def check(self) -> None:
        """Raises KeyboardInterrupt where the study was stopped."""
        if self.stopped:
            raise KeyboardInterrupt

    def call(
        self, name: str, command: List[str], log: Path, env: Optional[Dict[str, str]] = None
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


def name_of(log: Path) -> Optional[str]:
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
