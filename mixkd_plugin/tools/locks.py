"""Locks that the commands of a process inherit, which filelock's are not."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

POLL_SECONDS = 0.2  # between looks at what another process may have finished


@contextlib.contextmanager
def locked(
    path: Path, wait: bool = True, check: Callable[[], None] = lambda: None
) -> Iterator[bool]:
    """Hold the lock PATH.lock; False where another holds it and ``wait`` is off.

    Commands inherit it: one that outlives a killed study still holds its folder. ``check`` is
    called now and then while it waits, and may raise.

    Raises:
        OSError: where the file system has no locks.
    """
    if fcntl is None:
        raise OSError("this system has no fcntl, by which folders are locked: Linux and macOS have")
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
            fcntl.flock(file, fcntl.LOCK_UN)  # for those who inherited it as well
