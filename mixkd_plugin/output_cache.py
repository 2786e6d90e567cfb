"""Teacher outputs on disk, for the next run of a sweep.

A file's name is a digest of all that its numbers depend on: teachers and how they are averaged,
data, rows. A file is complete or absent: it is written under another name and moved into place,
so that runs may share a folder, and one that cannot be read whole counts as absent.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import uuid
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from .digests import digest_of_file, files_of_split

logger = logging.getLogger(__name__)

FORMAT = 1


class OutputCache:
    """Files of a folder.

    Args:
        folder: made where it does not exist
        teachers: digests of the checkpoints: their content counts and not their names
        settings: whatever else decides what the teacher answers; JSON values
        data: the binarised data folder
    """

    def __init__(self, folder: str, teachers: Sequence[str], settings: Dict[str, Any], data: str):
        self._folder = folder
        self._data = data
        self._settings = settings
        self._teachers = list(teachers)
        self._digests: Dict[str, str] = {}

    def make_folder(self) -> None:
        """Raise ValueError where the folder cannot be written to."""
        folder = self._folder
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ValueError(
                f"--teacher-cache {folder}: a folder that can be written to is wanted ({error})"
            ) from error

    def _digest(self, path: str) -> str:
        """Of the content when the run first asked."""
        if path not in self._digests:
            self._digests[path] = digest_of_file(path)
        return self._digests[path]

    def _path(self, split: str, rows: str) -> str:
        parts = {
            "format": FORMAT,
            "teachers": self._teachers,
            "settings": self._settings,
            "texts": [self._digest(path) for path in files_of_split(self._data, split)],
            "rows": rows,
        }
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return os.path.join(self._folder, f"{split}-{key[:32]}.npy")

    def load(self, split: str, rows: str, shape: Tuple[int, ...]) -> Optional[np.ndarray]:
        """What :meth:`store` was given for these rows, float32 of this shape; None if nothing."""
        path = self._path(split, rows)
        if not os.path.exists(path):
            return None
        try:
            outputs = np.load(path, allow_pickle=False)
            if outputs.shape != tuple(shape) or outputs.dtype != np.float32:
                raise ValueError(f"{outputs.dtype} {outputs.shape} instead of float32 {shape}")
        except (OSError, ValueError, EOFError) as error:
            logger.warning("--teacher-cache: %s is computed anew (%s)", path, error)
            return None
        logger.info("teacher: %d examples of split %s from %s", len(outputs), split, path)
        return outputs

    def store(self, split: str, rows: str, outputs: np.ndarray) -> None:
        """Keep outputs, float32; a full disk costs the next run time, and this one nothing."""
        path = self._path(split, rows)
        unfinished = f"{path}.{uuid.uuid4().hex}.unfinished"
        try:
            with open(unfinished, "wb") as file:
                np.save(file, outputs, allow_pickle=False)
            os.replace(unfinished, path)
        except OSError as error:
            logger.warning("--teacher-cache: %s was not written (%s)", path, error)
            with contextlib.suppress(OSError):
                os.remove(unfinished)
