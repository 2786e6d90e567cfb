"""Output that is there whole or not at all."""

import contextlib
import errno
import os
import tempfile
from typing import Iterator, List, Optional, Sequence

# Of a write that the system refuses, whatever file it names.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def check_folder(out: str) -> None:
    """Before work is done for it: --out may be made, or is a folder to write in."""
    folder = os.path.abspath(out)
    missing = _missing_folders(folder)
    there = os.path.dirname(missing[-1]) if missing else folder
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        raise ValueError(f"--out {out}: {there} is no folder that can be written in")


@contextlib.contextmanager
def whole_output(folder: str, owned: Sequence[str], force: bool) -> Iterator[str]:
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
    new = _missing_folders(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        # on the same disk, so that the renames at the end cannot fail for lack of space
        with tempfile.TemporaryDirectory(dir=folder, prefix=".output-") as work:
            yield work
            written = sorted(_files(work), key=owned[0].__eq__)
            for name in {*owned} - {*written}:
                _remove(folder, name)
            for name in written:
                target = os.path.join(folder, name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(os.path.join(work, name), target)
    except BaseException as error:
        for name in new:
            with contextlib.suppress(OSError):  # not empty: somebody else's
                os.rmdir(name)
        sentence = _sentence(error, folder)
        if sentence is None:
            raise
        raise ValueError(sentence) from error


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
    for where, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(where, name), folder)
