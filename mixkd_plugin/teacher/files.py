"""The teacher's checkpoints on disk at the beginning of a run."""

import logging
import os
from typing import Dict, List, Optional, Sequence, Tuple

from .. import distributed
from ..checkpoints.hf_weights import PREFIX, digest_of_folder, files_of, folder_of
from ..checkpoints.safe_load import check_is_checkpoint
from ..errors import prefixed
from ..fingerprints import digest_of_file

logger = logging.getLogger(__name__)

READERS = ("run", "host")


class TeacherFiles:
    """Files whose content must not change during a run.

    Raises:
        ValueError: on every rank, if a file is missing or differs between hosts.

    Args:
        paths: of the checkpoints, and hf:FOLDER of Hugging Face folders
        read_by: one rank of the ``run`` reads them, or one of each ``host``
    """

    def __init__(self, paths: Sequence[str], read_by: str):
        self.paths = list(paths)
        self.read_by = read_by
        reads = distributed.readers(read_by)[distributed.rank()] == distributed.rank()
        with distributed.raise_on_all_ranks():
            self._versions = {path: _checked_version(path) for path in self.paths} if reads else {}
            digests = {path: _digest(path) for path in self.paths} if reads else None
        everyone = distributed.gather(digests)
        self.digests: Dict[str, str] = digests or next(d for d in everyone if d is not None)
        distributed.check_equal(
            {f"the content of --teacher-path {p}": d for p, d in self.digests.items()}
        )

    def check_unchanged(self) -> None:
        """Raise ValueError if a file has changed since the beginning of the run.

        Called before and after reading, it checks the content that was read.
        """
        for path, version in self._versions.items():
            try:
                now = _version(path)
                same = now == version or _digest(path) == self.digests[path]
            except (OSError, ValueError):  # it is there no more
                same = False
            if not same:
                raise ValueError(f"--teacher-path: {path} has changed since the run began")
            self._versions[path] = now

    def check_recorded(self, recorded: Optional[Dict[str, str]]) -> None:
        """Compare with the digests in the checkpoint from which the run resumes.

        Raises:
            ValueError: if a file of the same name has another content.
        """
        for path, digest in self.digests.items():
            if (recorded or {}).get(path, digest) != digest:
                raise ValueError(
                    f"--teacher-path: {path} has changed since the run began (it was "
                    f"{recorded[path][:12]}, it is {digest[:12]}, SHA-256): put the former file "
                    "back, or start again in another --save-dir"
                )
        if recorded and set(recorded.values()) != set(self.digests.values()):
            logger.warning("--teacher-path: other teachers than at the beginning of the run")


def split_paths(teacher_path: str) -> List[str]:
    """The paths of A.pt:hf:FOLDER:B.pt:...; ValueError if that splits the name of a file."""
    parts, paths = iter(teacher_path.split(os.pathsep)), []
    for part in parts:
        paths.append(PREFIX + next(parts, "") if part + os.pathsep == PREFIX else part)
    for end in range(2, len(paths) + 1):
        for begin in range(end - 1):
            cut = paths[begin:end]
            name = os.pathsep.join(cut)
            if _is_there(name) and not all(map(_is_there, cut)):
                raise ValueError(
                    f"--teacher-path must not have {os.pathsep!r} in the name of a checkpoint, got "
                    f"{teacher_path}: rename {name}, or use a link to it"
                )
    return paths


def _checked_version(path: str) -> Tuple[int, ...]:
    with prefixed("--teacher-path", (OSError, ValueError)):
        if folder_of(path) is None:
            check_is_checkpoint(path)
        return _version(path)


def _version(path: str) -> Tuple[int, ...]:
    """A key that changes with a file's content: unlike the time of modification, the inode's
    time cannot be set."""
    folder, key = folder_of(path), []
    for status in map(os.stat, [path] if folder is None else files_of(folder)):
        key += [status.st_dev, status.st_ino, status.st_size]
        key += [status.st_mtime_ns, status.st_ctime_ns]
    return tuple(key)


def _digest(path: str) -> str:
    folder = folder_of(path)
    return digest_of_file(path) if folder is None else digest_of_folder(folder)


def _is_there(path: str) -> bool:
    folder = folder_of(path)
    return os.path.isfile(path) if folder is None else os.path.isdir(folder)
