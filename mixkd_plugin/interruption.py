"""Checkpoints that an interruption cannot harm, and runs that resume from them to the last bit.

:mod:`mixkd_plugin.compat` puts these around fairseq's functions of the same purpose, which lose a
checkpoint, meters or a step of the schedule.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable

import torch
from fairseq.file_io import PathManager
from fairseq.logging import metrics

PAUSES = (2.5, 2.5)  # seconds between attempts to write a checkpoint, as fairseq's


def _reason(error: BaseException | None) -> str:
    """What the operating system said, also where torch then says that its file is odd."""
    if error is None:
        return ""
    of_system = isinstance(error, OSError) and error.strerror
    return of_system or _reason(error.__context__) or str(error)


def _write_whole(path: str, write: Callable[[str], Any]) -> Any:
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
        raise OSError(
            f"checkpoint {path} could not be written ({_reason(error)}): what was saved before is "
            "as it was; once there is room, the same command resumes from it"
        ) from error
    return result


def save_whole(
    save: Callable[..., None], obj: Any, filename: str, async_write: bool = False
) -> None:
    """`checkpoint_utils.torch_persistent_save`, each of whose three attempts has a new file.

    fairseq's append to what a failed one left, and such a file cannot be read; where all fail, the
    last one's stays.
    """
    if async_write or not PathManager.supports_rename(filename):
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

    return _write_whole(filename, write)


def copy_whole(
    copy: Callable[..., bool], src_path: str, dst_path: str, overwrite: bool = False
) -> bool:
    """`PathManager.copy`, which overwrites with a complete file or not at all."""
    if not overwrite or not PathManager.supports_rename(dst_path):
        return copy(src_path, dst_path, overwrite=overwrite)
    return _write_whole(dst_path, lambda unfinished: copy(src_path, unfinished, overwrite=True))


def load_meters(load: Callable[..., None], state_dict: dict[str, Any]) -> None:
    """`metrics.load_state_dict`, after which the loaded "default" meters are those that count on.

    fairseq's leaves those of before active: a resumed run would save the loaded ones unchanged.
    """
    load(state_dict)
    metrics._active_aggregators["default"] = metrics._aggregators["default"]


def load_and_end_epoch(
    load: Callable[..., Any], cfg: Any, trainer: Any, **passthrough_args: Any
) -> tuple[Any, Any]:
    """`checkpoint_utils.load_checkpoint`, which tells the schedule how an epoch's validation went.

    fairseq saves at the end of an epoch and tells it afterwards, so that a run that resumes from
    there never does: --lr-scheduler reduce_lr_on_plateau would not see that epoch.
    """
    extra_state, epoch_itr = load(cfg, trainer, **passthrough_args)
    schedule_was_loaded = trainer.get_num_updates() > 0 and not cfg.reset_lr_scheduler
    if extra_state is not None and schedule_was_loaded and not cfg.reset_dataloader:
        position = extra_state["train_iterator"]
        if position.get("iterations_in_epoch") == 0:
            trainer.lr_step(position["epoch"] - 1, extra_state.get("val_loss"))
    return extra_state, epoch_itr
