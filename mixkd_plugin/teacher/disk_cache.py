"""Teacher logits on disk, for the next run of a sweep.

A file's name is a digest of all that its numbers depend on: teachers and how they are averaged,
code, data, rows. A file is complete or absent: it is written under another name and moved into
place, so that runs may share a folder. It ends with a digest of its name and content, and one that
has another counts as absent.
"""

import contextlib
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

FORMAT = 2  # raise it where a file, or what this package computes for the same teacher, changes
UNFINISHED = ".unfinished"
ABANDONED_AFTER = 3600  # seconds


class OutputCache:
    """Files of a folder.

    Args:
        folder: made where it does not exist
        teachers: digests of the checkpoints: their content counts and not their names
        settings: whatever else decides about the logits; JSON values
        data: the binarised data folder
        code: digests of what may compute logits and is not of this package, as they are now
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
        self._digests: Dict[str, str] = {}

    def make_folder(self) -> None:
        """Make it, without what runs left behind that were killed while they wrote.

        Raises:
            ValueError: where the folder cannot be written to, and holds nothing to read either.
        """
        folder = self._folder
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):  # just finished, or another user's
                    if name.endswith(UNFINISHED) and _is_abandoned(path):
                        os.remove(path)
        except OSError as error:
            if os.path.isdir(folder) and any(n.endswith(".npy") for n in os.listdir(folder)):
                logger.warning("--teacher-cache %s is only read: %s", folder, error)
                return
            raise ValueError(
                f"--teacher-cache {folder}: a folder that can be written to is wanted ({error})"
            ) from error

    def _digest(self, path: str) -> str:
        """Of the content when it is first needed in a run."""
        if path not in self._digests:
            self._digests[path] = digest_of_file(path)
        return self._digests[path]

    def _path(self, split: str, rows: str, combine: bool) -> str:
        texts = files_of_split(self._data, split, combine)
        parts = {
            "format": FORMAT,
            "teachers": self._teachers,
            "settings": self._settings,
            "texts": [self._digest(path) for path in texts],
            "rows": rows,
        }
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return os.path.join(self._folder, f"{split}-{key[:32]}.npy")

    def load(
        self, split: str, rows: str, shape: Tuple[int, ...], combine: bool = False
    ) -> Optional[np.ndarray]:
        """What :meth:`store` was given for these rows, float32 of this shape; None if nothing."""
        path = self._path(split, rows, combine)
        try:
            outputs = _read(path, tuple(shape))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("--teacher-cache: %s is computed anew (%s)", path, error)
            return None
        logger.info("teacher: %d examples of split %s from %s", len(outputs), split, path)
        return outputs

    def store(self, split: str, rows: str, outputs: np.ndarray, combine: bool = False) -> None:
        """Keep outputs, float32; a full disk costs the next run time, and this one nothing."""
        path = self._path(split, rows, combine)
        began_with, now = self._settings["code"], {}
        with contextlib.suppress(OSError, ValueError):  # it is gone
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
    """The outputs of a file, of which nothing is believed before it is compared.

    Raises:
        OSError: where it is missing or cannot be read
        ValueError: where it is damaged, or not what is wanted
    """
    header = io.BytesIO()
    form = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, form)
    size = len(header.getvalue()) + 4 * math.prod(shape) + hashlib.sha256().digest_size
    # a pipe would wait for somebody who writes
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no file")
        if status.st_size != size:
            raise ValueError(f"it has {status.st_size} bytes instead of {size}")
        content = file.read()
    outputs = np.frombuffer(content, "<f4", math.prod(shape), len(header.getvalue())).reshape(shape)
    if not content.startswith(header.getvalue()) or not content.endswith(_seal(path, outputs)):
        raise ValueError("its content does not have its checksum")
    return outputs


def _is_abandoned(path: str) -> bool:
    """Whether nobody writes this unfinished file: its process is no more, or it is old."""
    owner, _, host = path[: -len(UNFINISHED)].rpartition("@")
    pid = owner.rpartition("-")[2]
    if not pid.isdecimal():  # nobody that we know of
        return True
    if time.time() - os.path.getmtime(path) > ABANDONED_AFTER:
        return True
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return False
