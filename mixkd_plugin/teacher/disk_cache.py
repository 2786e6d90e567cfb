"""Teacher logits on disk, for the next run of a sweep.

A file's name is a digest of all that its values depend on: teachers with their weights, code, data
and sequences. A file is complete or absent: it is written under another name and then renamed, so
that runs may share a folder. It ends with a digest of its name and content; a file with a wrong
digest counts as absent.
"""

import contextlib
import functools
import hashlib
import io
import json
import logging
import math
import os
import socket
import stat
import tempfile
import time
import uuid
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np

from ..fingerprints import digest_of_file, files_of_split

logger = logging.getLogger(__name__)

FORMAT = 2  # increased if the file format, or logits of the same teacher, change
UNFINISHED = ".unfinished"
ABANDONED_AFTER = 3600  # seconds


class LogitsCache:
    """Files of a folder.

    Args:
        folder: created if it does not exist
        teachers: digests of the checkpoints' contents
        settings: all other settings on which the logits depend; JSON values
        data: the binarised data folder
        code: current digests of other packages that may compute logits
    """

    def __init__(
        self,
        folder: str,
        teachers: Sequence[str],
        settings: Dict[str, Any],
        data: str,
        code: Callable[[], Dict[str, str]] = dict,
    ):
        self._folder = folder
        self._data = data
        self._code = code
        self._settings = {**settings, "code": code()}
        self._teachers = list(teachers)
        self._digest = functools.cache(digest_of_file)  # of the data, once a run

    def make_folder(self) -> None:
        """Create the folder, and remove unfinished files of killed runs.

        Raises:
            ValueError: if the folder cannot be written to, and holds nothing to read either.
        """
        folder = self._folder
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):  # just finished, or of another user
                    if name.endswith(UNFINISHED) and _is_abandoned(path):
                        os.remove(path)
        except OSError as error:
            if os.path.isdir(folder) and any(n.endswith(".npy") for n in os.listdir(folder)):
                logger.warning("--teacher-cache %s is only read: %s", folder, error)
                return
            raise ValueError(
                f"--teacher-cache must be a writable folder, got {folder} ({error})"
            ) from error

    def _path(self, split: str, sequences: str, combine: bool) -> str:
        texts = files_of_split(self._data, split, combine)
        parts = {
            "format": FORMAT,
            "teachers": self._teachers,
            "settings": self._settings,
            "texts": [self._digest(path) for path in texts],
            "rows": sequences,
        }
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return os.path.join(self._folder, f"{split}-{key[:32]}.npy")

    def load(
        self, split: str, sequences: str, shape: Tuple[int, ...], combine: bool = False
    ) -> Optional[np.ndarray]:
        """The stored logits of these sequences, float32 of this shape; None without any."""
        path = self._path(split, sequences, combine)
        try:
            outputs = _read(path, tuple(shape))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("--teacher-cache: %s is computed again (%s)", path, error)
            return None
        logger.info("teacher: %d examples of split %s from %s", len(outputs), split, path)
        return outputs

    def store(self, split: str, sequences: str, outputs: np.ndarray, combine: bool = False) -> None:
        """Store outputs, float32; a full disk is only a warning."""
        path = self._path(split, sequences, combine)
        began_with, now = self._settings["code"], {}
        with contextlib.suppress(OSError, ValueError):  # it was removed
            now = self._code()
        if now != began_with:
            names = sorted(n for n in {*now, *began_with} if now.get(n) != began_with.get(n))
            logger.warning(
                "--teacher-cache: %s was not written: %s was edited, or imported late, since "
                "training began; import what a model needs at the top of its file",
                *(path, ", ".join(names)),
            )
            return
        unfinished = f"{path}.{uuid.uuid4().hex}-{os.getpid()}@{socket.gethostname()}{UNFINISHED}"
        try:
            with open(unfinished, "wb") as file:
                np.save(file, outputs, allow_pickle=False)
                file.write(_seal(path, outputs))
            os.replace(unfinished, path)
        except OSError as error:
            logger.warning("--teacher-cache: %s was not written (%s)", path, error)
            with contextlib.suppress(OSError):
                os.remove(unfinished)


def _seal(path: str, outputs: np.ndarray) -> bytes:
    digest = hashlib.sha256(f"{os.path.basename(path)} {outputs.shape}".encode())
    digest.update(np.ascontiguousarray(outputs).data)
    return digest.digest()


def _read(path: str, shape: Tuple[int, ...]) -> np.ndarray:
    """The outputs of a file; ValueError if it is damaged, or has another shape."""
    header = io.BytesIO()
    form = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, form)
    size = len(header.getvalue()) + 4 * math.prod(shape) + hashlib.sha256().digest_size
    # opening a pipe would wait for a writer
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a file")
        if status.st_size != size:
            raise ValueError(f"it must have {size} bytes, got {status.st_size}")
        content = file.read()
    outputs = np.frombuffer(content, "<f4", math.prod(shape), len(header.getvalue())).reshape(shape)
    if not content.startswith(header.getvalue()) or not content.endswith(_seal(path, outputs)):
        raise ValueError("its content does not have its checksum")
    return outputs


def _is_abandoned(path: str) -> bool:
    """Whether an unfinished file is abandoned: its process has ended, or it is old."""
    owner, _, host = path[: -len(UNFINISHED)].rpartition("@")
    pid = owner.rpartition("-")[2]
    # the first: not a name of ours
    if not pid.isdecimal() or time.time() - os.path.getmtime(path) > ABANDONED_AFTER:
        return True
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except OSError as error:  # another one: the process is of another user
        return isinstance(error, ProcessLookupError)
    return False
