"""Locks that child processes inherit (filelock's are not inherited)."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

POLL_SECONDS = 0.2  # between checks for results of other processes


@contextlib.contextmanager
def locked(
    path: Path, wait: bool = True, check: Callable[[], None] = lambda: None
) -> Iterator[bool]:
    """Hold the lock PATH.lock; False if another process holds it and ``wait`` is off.

    Commands inherit it: a command that outlives a killed study still holds its folder. ``check``
    is called repeatedly while it waits, and may raise.

    Raises:
        OSError: if the file system has no locks.
    """
    if fcntl is None:
        raise OSError("folders are locked by fcntl, which this system lacks: use Linux or macOS")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
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
            fcntl.flock(file, fcntl.LOCK_UN)  # for processes that inherited it, too
