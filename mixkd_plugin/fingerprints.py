"""Digests, in hexadecimal, to compare files, code, dictionaries and texts."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Optional, Sequence

if TYPE_CHECKING:  # the help of commands reads this module without fairseq
    from fairseq.data import Dictionary

INPUTS = ("input0", "input1")
# Files of a package that may change its results, besides Python files and what lies beside them.
READ = (".json", ".yaml", ".yml", ".toml", ".cpp", ".cu", ".so")
NOT_READ = (".pyc", ".md", ".log", ".out")
OTHERS = {"fairseq", "fairseq_cli", "torch", "mixkd_plugin", "__main__", "__mp_main__"}
INSTALLED = {"site-packages", "dist-packages"}


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def num_texts(data: str) -> int:
    """Of an example of a binarised folder: 1, or 2 of a pair."""
    return 1 + Path(data, INPUTS[1]).is_dir()


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


def digest_of_file(path: str) -> str:
    """Raises ValueError unless it is a regular file: reading others might not end."""
    check_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parts_of_split(folder: str, split: str, combine: bool) -> Iterator[str]:
    """Names of the binarised files that fairseq reads: ``split``; combined, split1 and so on."""
    number, name = 0, split
    while number == 0 or (combine and os.path.exists(os.path.join(folder, f"{name}.idx"))):
        yield name
        number += 1
        name = f"{split}{number}"


def files_of_split(
    data: str, split: str, combine: bool, columns: Sequence[str] = INPUTS
) -> List[str]:
    """The files of a split in a binarised data folder."""
    paths = (
        os.path.join(data, column, name + suffix)
        for column in columns
        for name in parts_of_split(os.path.join(data, column), split, combine)
        for suffix in (".bin", ".idx", ".label")
    )
    return [path for path in paths if os.path.isfile(path)]


def digests_of_split(folders: Dict[str, str], split: str, combine: bool) -> Dict[str, str]:
    """Digests of the files of a split, by their names in errors."""
    return {
        f"{os.path.relpath(path, folder)} of {what}": digest_of_file(path)[:16]
        for what, folder in folders.items()
        for path in files_of_split(folder, split, combine, (*INPUTS, "label"))
    }


def files_of_package(folder: Path, with_data: bool = False) -> List[Path]:
    """The Python files in a package's folder, but hidden ones.

    ``with_data``: also those that they may read: of some suffixes, or beside a Python file. Not of
    folders without one, which may be data and checkpoints of gigabytes.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    code = [path for path in files if path.suffix == ".py"]
    if not with_data:
        return code
    beside = {path.parent for path in code}
    return [
        path
        for path in files
        if path.suffix in READ or (path.parent in beside and path.suffix not in NOT_READ)
    ]


def digest_of_package(name: str, with_data: bool = False) -> str:
    """Digest of the files of an imported package or module; "" without files."""
    module = sys.modules[name]
    folders = [Path(folder) for folder in getattr(module, "__path__", [])]
    files = [
        (path.relative_to(folder).as_posix(), path)
        for folder in folders
        for path in files_of_package(folder, with_data)
    ]
    if not folders and getattr(module, "__file__", None):
        files = [("", Path(module.__file__))]
    known = [(inside, digest_of_file(path)) for inside, path in sorted(files)]
    return hashlib.sha256(str(known).encode()).hexdigest() if known else ""


def digests_of_code(
    user_dir: Optional[str], with_data: bool = False, more: Iterable[Any] = ()
) -> Dict[str, str]:
    """Digests of the packages that extend fairseq: this one, ``--user-dir``, and those with a
    registered model, task or criterion, or with one of ``more`` functions."""
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    registered = [*MODEL_REGISTRY.values(), *TASK_REGISTRY.values(), *CRITERION_REGISTRY.values()]
    modules = {base.__module__ for cls in registered for base in cls.__mro__}
    modules |= {function.__module__ for function in more}
    packages = {module.partition(".")[0] for module in (*modules, __name__)}
    packages |= {os.path.basename(os.path.abspath(user_dir))} if user_dir else set()
    packages -= {"fairseq", "torch", *sys.stdlib_module_names}
    there = sorted(packages & sys.modules.keys())
    return {name: digest_of_package(name, with_data) for name in there}


def digests_of_imports() -> Dict[str, str]:
    """Digests of all imported modules that were not installed, which a user's code may call."""
    library = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    found = {}
    # a copy: while items are listed, Python may finalise an object, which may import a module
    for name, module in sorted(sys.modules.copy().items(), key=lambda item: item[0]):
        path = getattr(module, "__file__", None) or ""
        installed = INSTALLED & {*Path(path).parts} or library & {*map(str, Path(path).parents)}
        if name.partition(".")[0] not in OTHERS and not installed and os.path.isfile(path):
            found[name] = digest_of_file(path)
    return found


def fingerprint(dictionary: Dictionary, labels: Optional[Dictionary]) -> Dict[str, Any]:
    """The record in our task's checkpoints, compared when the data folder was removed.

    ``labels`` is None for regression.
    """
    digest = hashlib.sha256("\n".join(dictionary.symbols).encode()).hexdigest()
    return {"vocabulary": digest, "labels": None if labels is None else class_names(labels)}


def class_names(labels: Dictionary) -> List[str]:
    """The classes of a label dictionary in their order, without special and padding symbols."""
    names = labels.symbols[labels.nspecial :]
    while names and (names[-1] == "<mask>" or names[-1].startswith("madeupword")):
        names = names[:-1]
    return names


# --- texts of a data folder, to compare copies in two vocabularies ---

FILE = "texts.json"


def digest_of_texts(rows: Iterable[Sequence[str]]) -> str:
    """Digest of the raw texts of a split, in order; an example has one text, or two."""
    digest = hashlib.sha256()
    for texts in rows:
        digest.update(json.dumps(list(texts)).encode() + b"\n")
    return digest.hexdigest()


def write_digests(folder: str, digests: Dict[str, str]) -> None:
    """Write the digest of every split to a data folder."""
    Path(folder, FILE).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


def read_digests(folder: str) -> Dict[str, str]:
    """The digests of :func:`write_digests`; empty without the file.

    Raises:
        ValueError: if the file has another content.
    """
    path = os.path.join(folder, FILE)
    if not os.path.exists(path):
        return {}
    check_regular(path)
    try:
        with open(path, encoding="utf-8") as f:
            digests = json.load(f)
    except (ValueError, RecursionError):
        digests = None
    if not isinstance(digests, dict):
        raise ValueError(f"{path} must have digests of texts: remove it, or encode the data again")
    return digests
