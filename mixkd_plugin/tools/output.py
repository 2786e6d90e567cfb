"""Output that is there whole or not at all."""

import contextlib
import os
import tempfile
from typing import Iterator, Sequence


@contextlib.contextmanager
def whole_output(folder: str, last: str, force: bool, owned: Sequence[str] = ()) -> Iterator[str]:
    """A temporary folder; what is put there moves to ``folder`` when its context ends well.

    Args:
        last: the file that moves last, and so says that all is there
        force: replace an earlier ``last``
        owned: names of files that an earlier output may have left and this one need not have

    Raises:
        ValueError: where ``last`` exists already, or the disk cannot take the files; ``folder`` is
            as it was then.
    """
    folder = os.path.abspath(folder)
    if os.path.exists(os.path.join(folder, last)) and not force:
        raise ValueError(f"{folder} already holds {last}; --force replaces it")
    try:
        existed = os.path.isdir(folder)
        os.makedirs(folder, exist_ok=True)
        try:
            # on the same disk, so that the renames at the end cannot fail for lack of space
            with tempfile.TemporaryDirectory(dir=folder, prefix=".output-") as work:
                yield work
                written = sorted(_files(work), key=last.__eq__)
                for name in {*owned} - {*written}:
                    with contextlib.suppress(FileNotFoundError):
                        os.remove(os.path.join(folder, name))
                for name in written:
                    target = os.path.join(folder, name)
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.replace(os.path.join(work, name), target)
        except BaseException:
            if not existed:
                with contextlib.suppress(OSError):  # not empty: somebody else's
                    os.rmdir(folder)
            raise
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        raise ValueError(f"{folder} cannot be written: {error}") from error


def _is_of_the_disk(error: Exception) -> bool:
    """Whether a write failed: the writers of torch and safetensors have errors of their own."""
    words = ("PytorchStreamWriter", "inline_container", "I/O error", "No space left")
    return isinstance(error, OSError) or any(word in str(error) for word in words)


def _files(folder: str) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(where, name), folder)
