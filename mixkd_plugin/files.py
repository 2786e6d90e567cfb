"""Checks of a file before it is opened: reading a pipe or a device might never end."""

import os
import stat

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: str) -> os.stat_result:
    """Its status, links followed.

    Raises:
        ValueError: with the path, if it does not exist or is not a regular file.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        reason = "does not exist"
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            reason = f"cannot be read: {error.strerror}"
        raise ValueError(f"{path} {reason}") from error
    except ValueError as error:  # a null character
        raise ValueError(f"{path!r} is not a path") from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ValueError(f"{path} is {kind}, not a regular file")
    return status
