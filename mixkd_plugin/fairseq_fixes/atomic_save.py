"""Checkpoints that an interruption cannot harm: written whole, or as they were before.

For our own tasks' runs :mod:`mixkd_plugin.fairseq_fixes.apply` puts :func:`save_checkpoint` around
fairseq's.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time
from functools import partial
from typing import Any, Callable, Iterator
from unittest import mock

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from .. import distributed
from .resume import Resumable, note_patience

PAUSES = (2.5, 2.5)  # seconds between attempts to write a checkpoint, as fairseq's


def _atomic_write(path: str, write: Callable[[str], Any]) -> Any:
    """What `write` returns, called with the name of a file that is moved to `path` when complete.

    Raises OSError, one sentence, and leaves whatever was at `path` before.
    """
    unfinished = path + ".tmp"
    try:
        result = write(unfinished)
        os.replace(unfinished, path)
    except Exception as error:
        with contextlib.suppress(OSError):
            os.remove(unfinished)
        reason = next((e.strerror for e in _causes(error) if isinstance(e, OSError)), None)
        if glob.glob(os.path.join(glob.escape(os.path.dirname(path)), "checkpoint_last*.pt")):
            then = "what was saved before is as it was; once there is room, the same command "
            then += "resumes from it"
        else:
            then = "no checkpoint_last.pt was saved before; once there is room, the same command "
            then += "begins anew"
        raise OSError(
            f"checkpoint {path} could not be written ({reason or error}): {then}"
        ) from error
    return result


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those before it: torch's own one hides the disk's."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def atomic_save(
    save: Callable[..., None], obj: Any, filename: str, async_write: bool = False
) -> None:
    """`checkpoint_utils.torch_persistent_save`, each of whose three attempts has a new file.

    fairseq's append to what a failed one left, and such a file cannot be read; where all fail, the
    last one's stays.
    """
    if not PathManager.supports_rename(filename):
        return save(obj, filename, async_write)

    def write(unfinished: str) -> None:
        for pause in (*PAUSES, None):
            try:
                with PathManager.open(unfinished, "wb") as file:
                    torch.save(obj, file)
                return
            except Exception:
                if pause is None:
                    raise
                time.sleep(pause)

    return _atomic_write(filename, write)


def atomic_copy(
    copy: Callable[..., bool], src_path: str, dst_path: str, overwrite: bool = False
) -> bool:
    """`PathManager.copy`, which overwrites with a complete file or not at all."""
    if not overwrite or not PathManager.supports_rename(dst_path):
        return copy(src_path, dst_path, overwrite=overwrite)
    return _atomic_write(dst_path, lambda unfinished: copy(src_path, unfinished, overwrite=True))


def save_checkpoint(save: Callable[..., Any], cfg: Any, trainer: Any, *args: Any, **kwargs: Any):
    """`checkpoint_utils.save_checkpoint`; where it fails, on the first rank, it fails on all."""
    if not isinstance(trainer.task, Resumable):
        return save(cfg, trainer, *args, **kwargs)
    note_patience(trainer)
    persistent_save, copy = checkpoint_utils.torch_persistent_save, PathManager.copy
    with (
        distributed.raise_on_all_ranks(),
        mock.patch.multiple(
            checkpoint_utils, torch_persistent_save=partial(atomic_save, persistent_save)
        ),
        mock.patch.object(PathManager, "copy", staticmethod(partial(atomic_copy, copy))),
    ):
        return save(cfg, trainer, *args, **kwargs)
