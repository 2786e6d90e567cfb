"""Output that is there whole or not at all, and nothing else that a run leaves behind."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from typing import IO, Any, Dict, Iterator, List, Optional, Sequence, Tuple

try:
    import fcntl
except ImportError:  # Windows, where folders of killed runs stay
    fcntl = None

# Of a write that the system refuses, whatever file it names.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
OWNER = "owner.lock"  # in a work folder: locked by its process, and naming the host
CONTENT = "content"  # the folder beside it
A_DAY = 24 * 3600  # seconds
SIGNALS = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]


def check_folder(out: str) -> None:
    """Before work is done for it: --out may be made, or is a folder to write in."""
    folder = os.path.abspath(out)
    missing = _missing_folders(folder)
    there = os.path.dirname(missing[-1]) if missing else folder
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        raise ValueError(f"--out {out}: {there} is no folder that can be written in")


@contextlib.contextmanager
def atomic_output_dir(folder: str, owned: Sequence[str], force: bool) -> Iterator[str]:
    """A temporary folder; what is put there moves to ``folder`` when its context ends well.

    Args:
        owned: names of all files that such an output may have; the first one moves last, and so
            says that all is there
        force: replace an earlier output, with all of its files

    Raises:
        ValueError: where one of them exists already, or a file cannot be read or written;
            ``folder`` is as it was then.
    """
    folder = os.path.abspath(folder)
    there = [name for name in owned if os.path.lexists(os.path.join(folder, name))]
    if there and not force:
        raise ValueError(f"{folder} already holds {there[0]}; --force replaces it")
    try:
        # on the same disk, so that the renames at the end cannot fail for lack of space
        with work_folder(folder, ".output-") as work:
            yield work
            ignore_signals()  # for the moment of the moves
            written = sorted(_files(work), key=owned[0].__eq__)
            for name in {*owned} - {*written}:
                _remove(folder, name)
            for name in written:
                target = os.path.join(folder, name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(os.path.join(work, name), target)
    except Exception as error:
        sentence = _sentence(error, folder)
        if sentence is None:
            raise
        raise ValueError(sentence) from error


@contextlib.contextmanager
def work_folder(parent: str, prefix: str) -> Iterator[str]:
    """An empty folder that is gone when its context ends, by an error or a signal, too.

    It lies in a hidden folder in ``parent``. Such ones that killed processes left there are removed
    first.
    """
    new = _missing_folders(parent)
    try:
        os.makedirs(parent, exist_ok=True)
        with contextlib.suppress(OSError):  # a folder that may not be listed
            _remove_left(parent, prefix)
        with ended_by_signals():
            hidden, owner = _new_folder(parent, prefix)
            folder = os.path.join(hidden, CONTENT)
            try:
                os.mkdir(folder)
                yield folder
            finally:
                _remove_folder(hidden)
                owner.close()
    except BaseException:
        for name in new:
            with contextlib.suppress(OSError):  # not empty: somebody else's
                os.rmdir(name)
        raise


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """In its context SIGINT, SIGTERM and SIGHUP end the process as an exception does."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def end(number, frame):
        ignore_signals()  # nothing disturbs the cleaning
        os.write(2, f"ended by {signal.Signals(number).name}\n".encode())
        raise SystemExit(128 + number)

    _handle({n: end for n, how in before.items() if how is not signal.SIG_IGN})
    try:
        yield
    finally:
        _handle(before)


def ignore_signals() -> None:
    """Until the context of :func:`ended_by_signals` ends."""
    _handle({number: signal.SIG_IGN for number in SIGNALS})


def _handle(handlers: Dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # else Python does not allow it
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _new_folder(parent: str, prefix: str) -> Tuple[str, IO]:
    """A folder, and the open file whose lock says that it is this process's."""
    while True:
        folder = tempfile.mkdtemp(dir=parent, prefix=prefix)
        # until it is locked, another process may take it for one that was left
        with contextlib.suppress(FileNotFoundError):
            owner = open(os.path.join(folder, OWNER), "w")  # noqa: SIM115
            if _lock(owner) is not False:
                owner.write(socket.gethostname())
                owner.flush()
                return folder, owner
            owner.close()
        _remove_folder(folder)


def _lock(file: IO) -> Optional[bool]:
    """Whether this process holds its lock now, and it is there still; None: there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # not on this disk
        return None


def _remove_left(parent: str, prefix: str) -> None:
    """Remove work folders whose process is gone; of another host, after a day without a change."""
    for entry in os.scandir(parent):
        if not (entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False)):
            continue
        with contextlib.suppress(OSError):  # it is not empty
            os.rmdir(entry.path)
        # there is no lock in a folder that is not ours
        with contextlib.suppress(OSError), open(os.path.join(entry.path, OWNER), "r+") as owner:
            if _lock(owner) and (
                owner.read() in ("", socket.gethostname())
                or time.time() - max(map(os.path.getmtime, _paths(entry.path))) > A_DAY
            ):
                _remove_folder(entry.path)


def _remove_folder(folder: str) -> None:
    """A work folder; its lock last, by which a later run knows what is left of it."""
    shutil.rmtree(os.path.join(folder, CONTENT), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _missing_folders(folder: str) -> List[str]:
    """``folder`` and those above it that are not there, the deepest first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _remove(folder: str, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(folder, name))
        if os.path.dirname(name):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(os.path.join(folder, os.path.dirname(name)))


def _sentence(error: BaseException, folder: str) -> Optional[str]:
    """What to say of a file that cannot be read or written; None of any other error."""
    if isinstance(error, OSError):
        name = os.path.abspath(error.filename or folder)
        if error.errno not in FULL and os.path.commonpath([folder, name]) != folder:
            return f"{name} cannot be read: {error.strerror}"
        return f"{folder} cannot be written: {error}"
    # the writers of torch, safetensors and tokenizers have errors of their own
    words = ("PytorchStreamWriter", "inline_container", "I/O error", "No space left")
    words += tuple(map(os.strerror, FULL))
    if isinstance(error, Exception) and any(word in str(error) for word in words):
        return f"{folder} cannot be written: {error}"
    return None


def _files(folder: str) -> Iterator[str]:
    return (os.path.relpath(path, folder) for path in _paths(folder))


def _paths(folder: str) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(where, name)
