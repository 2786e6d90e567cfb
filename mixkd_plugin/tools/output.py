"""Output that is written atomically, without temporary files left behind."""

import contextlib
import errno
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from .locks import locked

# Errors of a write that the system refuses, for any file.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
# Words in the errors of the writers of torch, safetensors and tokenizers.
WORDS = ("PytorchStreamWriter", "inline_container", "I/O error", *map(os.strerror, FULL))


def check_out(out: str, force: bool) -> None:
    """Check before the work that --out is new, or a writable folder, and empty unless ``force``.

    Hidden files do not count: the system's, and those of a killed command.
    """
    check_folder(out)
    there = sorted(os.listdir(out)) if os.path.isdir(out) else []
    shown = [name for name in there if not name.startswith(".")]
    if shown and not force:
        raise ValueError(
            f"--out must be new or empty, got {out} with {shown[0]}: --force writes into it, and "
            "replaces files of the same names"
        )


def check_folder(out: str) -> None:
    """Check before the work that --out can be made, or is a writable folder."""
    folder = os.path.abspath(out)
    missing = _missing_folders(folder)
    there = os.path.dirname(missing[-1]) if missing else folder
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        raise ValueError(f"--out must be a writable folder, got {out}: {there} is not one")


@contextlib.contextmanager
def atomic_output_dir(folder: str, owned: Sequence[str], force: bool) -> Iterator[str]:
    """A temporary folder; its files move to ``folder`` when its context ends without an error.

    Args:
        owned: names of all files that such an output may have; the first one is removed first and
            written last, so that it marks a complete output
        force: replace an earlier output, with all of its files

    Raises:
        ValueError: if one of them exists already, or a file cannot be read or written;
            ``folder`` is not changed then.
    """
    folder = os.path.abspath(folder)
    there = [name for name in owned if os.path.lexists(os.path.join(folder, name))]
    if there and not force:
        raise ValueError(f"{folder} already has {there[0]}: --force replaces it")
    try:
        # on the same disk, so that the final renames need no space
        with work_folder(folder, ".output-") as work:
            yield work
            for name in owned:
                _remove(folder, name)
            written = (os.path.relpath(path, work) for path in Path(work).rglob("*")
                       if not path.is_dir())  # fmt: skip
            for name in sorted(written, key=owned[0].__eq__):
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
    """An empty hidden folder in ``parent``, removed when its context ends, also by an error.

    Those of killed processes of this host are removed first.
    """
    new = _missing_folders(parent)
    prefix = f"{prefix}{socket.gethostname()}-"
    try:
        os.makedirs(parent, exist_ok=True)
        with contextlib.suppress(OSError):  # the folder cannot be listed or locked
            _remove_left(Path(parent), prefix)
        with contextlib.ExitStack() as stack:
            folder = Path(parent, f"{prefix}{uuid.uuid4().hex}")
            stack.callback(_remove_folder, folder)
            with contextlib.suppress(OSError):  # no locks on this disk: a killed process leaves it
                stack.enter_context(locked(folder))
            folder.mkdir()
            yield str(folder)
    except BaseException:
        for name in new:
            with contextlib.suppress(OSError):  # not empty: used by another process
                os.rmdir(name)
        raise


def _remove_left(parent: Path, prefix: str) -> None:
    for lock in parent.glob(f"{prefix}*.lock"):
        with locked(lock.with_suffix(""), wait=False) as free:
            if free:
                _remove_folder(lock.with_suffix(""))


def _remove_folder(folder: Path) -> None:
    """Remove a work folder, and its lock last: by the lock a later run finds the rest."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def _missing_folders(folder: str) -> list[str]:
    """``folder`` and its parents that do not exist, the deepest first."""
    path = Path(folder)
    return [str(p) for p in (path, *path.parents) if not os.path.lexists(p)]


def _remove(folder: str, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(folder, name))
        if os.path.dirname(name):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(os.path.join(folder, os.path.dirname(name)))


def _sentence(error: Exception, folder: str) -> str | None:
    """The message for a file that cannot be read or written; None for any other error."""
    if isinstance(error, OSError):
        name = os.path.abspath(error.filename or folder)
        if error.errno not in FULL and os.path.commonpath([folder, name]) != folder:
            return f"{name} cannot be read: {error.strerror}"
    elif not is_full(error):
        return None
    return f"{folder} cannot be written: {why_full(error)}"


def is_full(error: BaseException) -> bool:
    """Whether the system refused to write, as on a full disk."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return any(word in str(error) for word in WORDS)


def why_full(error: BaseException) -> str:
    """An error's own words, or those of the system where a library has hidden them."""
    if isinstance(error, (OSError, ValueError)):
        return str(error)
    cause = error.__cause__ or error.__context__
    return why_full(cause) if cause else f"{os.strerror(errno.ENOSPC)}, or the file is too large"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name, which is moved to ``path`` if its context ends without an error."""
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def atomic_write(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
