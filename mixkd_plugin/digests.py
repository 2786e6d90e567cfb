"""Digests, in hexadecimal, by which files are known to be the same."""

import glob
import hashlib
import os
from typing import Dict, List

from .files import check_regular


def digest_of_file(path: str) -> str:
    """Raises ValueError for what is no regular file, whose reading might not end."""
    check_regular(path)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def files_of_split(data: str, split: str, folders: str = "input*") -> List[str]:
    """The files of a split in a binarised data folder, and of those that ``combine`` adds."""
    return sorted(glob.glob(os.path.join(glob.escape(data), folders, f"{split}*.*")))


def digests_of_split(folders: Dict[str, str], split: str) -> Dict[str, str]:
    """Of the files of a split, by what errors call them."""
    return {
        f"{os.path.relpath(path, folder)} of {what}": digest_of_file(path)[:16]
        for what, folder in folders.items()
        for path in files_of_split(folder, split, "*")
    }
