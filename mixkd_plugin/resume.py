"""Which checkpoint a run resumes from: the newest one that can be read."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from fairseq.file_io import PathManager

from . import ranks
from .interruption import DEFAULT
from .safe_reading import RefusedError, read_checkpoint

logger = logging.getLogger(__name__)


def path_of(save_dir: str, restore_file: str, suffix: str = "") -> str:
    """The file that training resumes from where there is one; arguments as for :func:`find`."""
    if restore_file != DEFAULT:
        return restore_file.replace(".pt", suffix + ".pt")
    return os.path.join(save_dir, f"checkpoint_last{suffix}.pt")


def find(save_dir: str, restore_file: str, suffix: str = "") -> dict[str, Any] | None:
    """The task's state in the checkpoint that training is about to resume from, None for a new run.

    A `checkpoint_last.pt` that is damaged is kept as `checkpoint_last.pt.damaged`, and the newest
    checkpoint of the folder that can be read and has the optimizer's state takes its place, with a
    warning. It is there at any moment, so that other processes may look meanwhile.

    Args:
        save_dir, restore_file, suffix: --save-dir, --restore-file, --checkpoint-suffix

    Raises:
        ValueError: where there is none, where a --restore-file of one's own is damaged, or where a
            file is refused or cannot be read for a reason outside it.
    """
    path = path_of(save_dir, restore_file, suffix)
    flag = "--save-dir" if restore_file == DEFAULT else "--restore-file"
    if PathManager.path_requires_pathmanager(path) or not os.path.isfile(path):
        return None  # in a store that only fairseq knows, or a new run
    try:
        return read_checkpoint(path).get("task_state", {})
    except ValueError as error:
        # What is no fault of the file may pass, and what is refused is not to be overwritten.
        outside = isinstance(error.__cause__, (OSError, MemoryError))
        if outside or isinstance(error, RefusedError):
            raise ValueError(f"{flag}: {error}") from error
        if flag == "--restore-file":
            raise ValueError(
                f"--restore-file: {error}: name another one, or leave the flag out to resume from "
                "--save-dir"
            ) from error
        return _replace(path, suffix, error)


def find_on_every_rank(save_dir: str, restore_file: str, suffix: str = "") -> dict[str, Any] | None:
    """:func:`find` by the first rank, and what it found on all.

    Raises:
        ValueError: on every rank, where it does, or where some ranks have the file and others not.
    """
    state = None
    with ranks.together():
        if ranks.rank() == 0:
            state = find(save_dir, restore_file, suffix)
    path = path_of(save_dir, restore_file, suffix)
    # fairseq's first rank would send what it read to ranks that do not wait for it
    name = os.path.basename(path)
    ranks.check_equal({f"--save-dir: whether {name} is there": os.path.isfile(path)})
    return ranks.gather(state)[0]


def _replace(path: str, suffix: str, damage: ValueError) -> dict[str, Any]:
    """Put the newest other checkpoint in the place of `path`; its task's state."""
    newest, state, updates = None, None, -1
    for other in _others(os.path.dirname(path), suffix):
        try:
            candidate = read_checkpoint(other)
        except ValueError:
            continue
        reached = candidate["optimizer_history"][-1].get("num_updates", 0)
        if candidate.get("last_optimizer_state") is not None and reached > updates:
            newest, state, updates = other, candidate.get("task_state", {}), reached
    if newest is None:
        raise ValueError(
            f"--save-dir: {damage}, and no other checkpoint there can be read and has the "
            "optimizer's state: move it away to train from the beginning, or name a checkpoint "
            "with --restore-file"
        ) from damage
    PathManager.copy(path, path + ".damaged", overwrite=True)
    PathManager.copy(newest, path, overwrite=True)
    logger.warning(
        "%s: kept as %s.damaged, training resumes from %s (%d updates)",
        *(damage, os.path.basename(path), os.path.basename(newest), updates),
    )
    return state


def _others(folder: str, suffix: str) -> list[str]:
    """The checkpoints that fairseq saves beside the last one."""
    name = rf"checkpoint(\d+|_\d+_\d+|_best|\.best_\w+?_-?\d+\.\d+){re.escape(suffix)}\.pt"
    return [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if re.fullmatch(name, f)]
