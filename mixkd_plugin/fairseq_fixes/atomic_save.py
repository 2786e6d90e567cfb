"""Checkpoints that an interruption or a full disk cannot damage: a file is complete or unchanged.

fairseq's second attempt to save appends to the file of a failed one, which makes it unreadable. It
copies checkpoint_last.pt directly over the other checkpoints. And if saving fails on the first
rank, the other ranks wait for ever. Upstream: facebookresearch/fairseq#2684.

It acts while a run of our tasks is saved.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
import time
from contextvars import ContextVar
from typing import Any, Callable, Iterator

import torch
from fairseq.file_io import PathManager

from .. import distributed
from .best_score import note_patience

PAUSES = (2.5, 2.5)  # seconds between attempts to write a checkpoint, as fairseq's

_saving: ContextVar[bool] = ContextVar("saving a run of our tasks", default=False)


def save_checkpoint(
    save: Callable[..., Any], cfg: Any, trainer: Any, epoch_itr: Any, val_loss: float | None
):
    """`checkpoint_utils.save_checkpoint`; if it fails on the first rank, it fails on all.

    A score of nan, such as the correlation with equal predictions, counts as no score: fairseq
    would compare later scores with it, and the best checkpoint could be any.

    Raises:
        OSError: if the checkpoint cannot be written; existing files are not changed
    """
    note_patience(trainer)
    if val_loss is not None and math.isnan(val_loss):
        val_loss = None
    with distributed.raise_on_all_ranks():
        token = _saving.set(True)
        try:
            return save(cfg, trainer, epoch_itr, val_loss)
        finally:
            _saving.reset(token)


def torch_persistent_save(
    save: Callable[..., None], obj: Any, filename: str, async_write: bool = False
) -> None:
    """`checkpoint_utils.torch_persistent_save`, each of whose three attempts has a new file."""
    if not _saving.get() or not PathManager.supports_rename(filename):
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


def copy(original: Callable[..., bool], src_path: str, dst_path: str, overwrite: bool = False):
    """`PathManager.copy`, which replaces a file atomically."""
    if not (_saving.get() and overwrite and PathManager.supports_rename(dst_path)):
        return original(src_path, dst_path, overwrite=overwrite)
    return _atomic_write(
        dst_path, lambda unfinished: original(src_path, unfinished, overwrite=True)
    )


def _atomic_write(path: str, write: Callable[[str], Any]) -> Any:
    """What `write` returns, called with the name of a file that is moved to `path` when complete.

    Raises OSError, without a change of `path`.
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
            then = "earlier checkpoints are not changed; with free space, the same command "
            then += "resumes from them"
        else:
            then = "there is no earlier checkpoint_last.pt; with free space, the same command "
            then += "starts again"
        raise OSError(
            f"checkpoint {path} could not be written ({reason or error}): {then}"
        ) from error
    return result


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes: torch's error hides the disk's."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
