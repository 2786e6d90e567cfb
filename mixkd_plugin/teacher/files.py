"""The teacher's checkpoints on disk, as they are when a run begins."""

import logging
import os
from typing import Dict, List, Optional, Sequence, Tuple

from .. import distributed
from ..checkpoints.safe_load import check_kind
from ..fingerprints import digest_of_file

logger = logging.getLogger(__name__)

READERS = ("run", "host")


class TeacherFiles:
    """Files whose content must not change while a run needs them.

    Raises:
        ValueError: on every rank, where a file is missing or differs between hosts.

    Args:
        paths: of the checkpoints
        read_by: one rank of the ``run`` reads them, or one of each ``host``
    """

    def __init__(self, paths: Sequence[str], read_by: str):
        self.paths = list(paths)
        self.read_by = read_by
        reads = distributed.reads_for(read_by)
        with distributed.raise_on_all_ranks():
            self._versions = {path: _checked_version(path) for path in self.paths} if reads else {}
            digests = {path: digest_of_file(path) for path in self.paths} if reads else None
        everyone = distributed.gather(digests)
        self.digests: Dict[str, str] = digests or next(d for d in everyone if d is not None)
        distributed.check_equal(
            {f"the content of --teacher-path {p}": d for p, d in self.digests.items()}
        )

    def check_unchanged(self) -> None:
        """Raise ValueError where a file is not the one that the run began with.

        Called before a file is read and after it, it vouches for what was read.
        """
        for path, version in self._versions.items():
            there = os.path.isfile(path)
            now = _version(path) if there else None
            if not there or (now != version and digest_of_file(path) != self.digests[path]):
                raise ValueError(f"--teacher-path: {path} has changed since the run began")
            self._versions[path] = now

    def check_recorded(self, recorded: Optional[Dict[str, str]]) -> None:
        """Compare with the digests that the run left in the checkpoint from which it goes on.

        Raises:
            ValueError: where a file of the same name has another content.
        """
        for path, digest in self.digests.items():
            if (recorded or {}).get(path, digest) != digest:
                raise ValueError(
                    f"--teacher-path: {path} has changed since the run began (it was "
                    f"{recorded[path][:12]}, it is {digest[:12]}, SHA-256): put the former file "
                    "back, or begin anew in another --save-dir"
                )
        if recorded and set(recorded.values()) != set(self.digests.values()):
            logger.warning("--teacher-path: other teachers than those that the run began with")


def split_paths(teacher_path: str) -> List[str]:
    """The checkpoints of A.pt:B.pt:...

    Raises:
        ValueError: where a name that holds the separator was cut in two.
    """
    paths = teacher_path.split(os.pathsep)
    for end in range(2, len(paths) + 1):
        for begin in range(end - 1):
            cut = paths[begin:end]
            whole = os.pathsep.join(cut)
            if os.path.isfile(whole) and not all(map(os.path.isfile, cut)):
                raise ValueError(
                    f"--teacher-path {teacher_path}: {os.pathsep!r} divides checkpoints and cannot "
                    f"be in the name of one; rename {whole}, or name a link to it"
                )
    return paths


def _checked_version(path: str) -> Tuple[int, ...]:
    try:
        check_kind(path)
        return _version(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"--teacher-path: {error}") from error


def _version(path: str) -> Tuple[int, ...]:
    """Of two files one after the other, equal where the content is: unlike the time of the last
    change, nobody can set that of the inode's."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
