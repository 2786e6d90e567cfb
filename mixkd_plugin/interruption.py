"""Checkpoints that an interruption cannot harm, and runs that resume from them to the last bit.

:mod:`mixkd_plugin.compat` puts these around fairseq's functions of the same purpose, which lose a
checkpoint, meters or a step of the schedule.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import time
from typing import Any, Callable

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from fairseq.logging import metrics

from . import ranks

logger = logging.getLogger(__name__)

DEFAULT = "checkpoint_last.pt"  # of --restore-file
PAUSES = (2.5, 2.5)  # seconds between attempts to write a checkpoint, as fairseq's


class _Writer:
    """A file for `torch.save`, of which the first write that fails is kept as `error`.

    Raised in the middle, it aborts the process (torch 1.13) or is hidden by another one.
    """

    def __init__(self, file: Any):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """When the file is closed."""


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
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"checkpoint {path} could not be written ({reason}): what was saved before is as it "
            "was; once there is room, the same command resumes from it"
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
                    writer = _Writer(file)
                    torch.save(obj, writer)
                    if writer.error is not None:
                        raise writer.error
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


def save_checkpoint(save: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`checkpoint_utils.save_checkpoint`; where it fails, on the first rank, it fails on all."""
    with ranks.together():
        return save(*args, **kwargs)


def load_meters(load: Callable[..., None], state_dict: dict[str, Any]) -> None:
    """`metrics.load_state_dict`, after which the loaded "default" meters are those that count on.

    fairseq's leaves those of before active: a resumed run would save the loaded ones unchanged.
    """
    load(state_dict)
    metrics._active_aggregators["default"] = metrics._aggregators["default"]


def _forget_earlier_run() -> None:
    """What fairseq keeps on its functions, and never takes away."""
    train = sys.modules.get("fairseq_cli.train")
    for function in (checkpoint_utils.save_checkpoint, getattr(train, "should_stop_early", None)):
        for name in ("best", "num_runs"):
            with contextlib.suppress(AttributeError):
                delattr(function, name)


def _reached_without_optimizer(cfg: Any, trainer: Any, epoch_itr: Any) -> int:
    """Updates of a finished run whose checkpoint_last.pt has no optimizer's state; else 0.

    Raises:
        ValueError: where the run is not finished.
    """
    default = cfg.restore_file == DEFAULT and os.path.isfile(os.path.join(cfg.save_dir, DEFAULT))
    if not default or cfg.reset_optimizer or not trainer._optim_history:
        return 0
    reached = trainer._optim_history[-1].get("num_updates", 0)
    wanted = trainer.cfg.optimization
    over = 0 < wanted.max_epoch < epoch_itr.next_epoch_idx or 0 < wanted.max_update <= reached
    if reached > 0 and not over:
        raise ValueError(
            f"--save-dir {cfg.save_dir}: {DEFAULT} ({reached} updates) has no optimizer's state "
            "(--no-save-optimizer-state), so that no run can go on from it: move it away to train "
            "from the beginning, or begin with its student and a new optimizer by "
            "--reset-optimizer --reset-dataloader --reset-meters --reset-lr-scheduler"
        )
    return reached


def load_checkpoint(
    load: Callable[..., Any], cfg: Any, trainer: Any, **passthrough_args: Any
) -> tuple[Any, Any]:
    """`checkpoint_utils.load_checkpoint`, and what fairseq forgets when a run begins or resumes.

    A process's earlier run (a sweep's, by hydra) leaves its best score and its patience behind.

    It saves at the end of an epoch and tells the schedule afterwards how validation went, so that
    a run that resumes from there never does: reduce_lr_on_plateau would not see that epoch. And it
    makes one update before it looks at --max-update, at every start of a run that had reached it.

    Without the optimizer's state it would begin at update 0 and in the middle of the data, and
    write over the student that is there.

    Raises:
        ValueError: where checkpoint_last.pt lacks that state, and updates are still to be made.
    """
    _forget_earlier_run()
    extra_state, epoch_itr = load(cfg, trainer, **passthrough_args)
    updates, optimization = trainer.get_num_updates(), trainer.cfg.optimization
    if extra_state is not None and updates == 0:
        updates = _reached_without_optimizer(cfg, trainer, epoch_itr)
    elif extra_state is not None and updates > 0 and not cfg.reset_dataloader:
        position = extra_state["train_iterator"]
        if position.get("iterations_in_epoch") == 0 and not cfg.reset_lr_scheduler:
            trainer.lr_step(position["epoch"] - 1, extra_state.get("val_loss"))
    if 0 < optimization.max_update <= updates:
        logger.info("--max-update %d was reached: nothing is left to do", optimization.max_update)
        optimization.stop_min_lr = math.inf  # the one thing that it looks at before
    return extra_state, epoch_itr
