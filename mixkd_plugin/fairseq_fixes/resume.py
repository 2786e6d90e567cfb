"""A run resumes exactly, or is refused, where fairseq loses state or behaves differently.

- fairseq makes one more update, or trains for ever, at each start of a finished run.
- It does not pass the last validation's result to the schedule of a resumed run.
- It saves the loaded meters, unchanged, from then on.
- Without the optimizer's state it begins at update 0, in the middle of the data, and overwrites
  the student.
- Its error for another architecture or optimizer names no flag.

Upstream: not reported. It acts where a run of our tasks begins or resumes.
"""

from __future__ import annotations

import logging
from typing import Any, Callable

from fairseq.logging import metrics

from ..checkpoints.origin import FINETUNE, Origin, settings_of_run
from ..errors import in_short
from .best_score import reset_best_score, restore_patience

logger = logging.getLogger(__name__)


class ResumableTask:
    """A task to whose runs the fixes for saving and resuming apply.

    Runs of other tasks are not changed by this package.
    """

    origin: Origin | None = None  # set by `build_model`; None for a new run


def load_checkpoint(
    load: Callable[..., Any], cfg: Any, trainer: Any, **passthrough_args: Any
) -> tuple[Any, Any]:
    """`checkpoint_utils.load_checkpoint`, with the fixes of this module and best_score.

    Raises:
        ValueError: if the checkpoint does not fit this run, or lacks the optimizer's state before
            the last update.
    """
    origin = trainer.task.origin
    reset_best_score()
    extra_state, epoch_itr = load(cfg, trainer, **passthrough_args)
    # fairseq updates other meters than those that it loaded: make them the same again
    metrics._active_aggregators["default"] = metrics._aggregators["default"]
    if extra_state is None:
        return extra_state, epoch_itr
    finetunes = origin is not None and origin.flag == FINETUNE
    if finetunes or cfg.reset_optimizer or cfg.reset_dataloader:
        trainer._previous_training_time = 0  # of another run
    if finetunes:
        return extra_state, epoch_itr

    waited = 0
    if origin is not None and not (cfg.reset_optimizer or cfg.reset_meters):
        waited = restore_patience(trainer, origin.task_state, not cfg.reset_lr_scheduler)
    history = trainer._optim_history
    has_optimizer = trainer.get_num_updates() > 0 or cfg.reset_optimizer or not history
    updates = trainer.get_num_updates() if has_optimizer else history[-1].get("num_updates", 0)
    reason = _why_finished(cfg, trainer, updates, waited)
    if reason is not None:
        logger.info("%s: the run is finished", reason)
        trainer.cfg.optimization.max_epoch = -1  # checked by fairseq before the first update
    elif updates > 0 and not has_optimizer:
        _refuse_without_optimizer(cfg, trainer, origin, epoch_itr, updates)
    elif updates > 0 and not (cfg.reset_dataloader or cfg.reset_lr_scheduler):
        position = extra_state["train_iterator"]
        if position.get("iterations_in_epoch") == 0:  # saved at an epoch's end, before lr_step
            trainer.lr_step(position["epoch"] - 1, extra_state.get("val_loss"))
    return extra_state, epoch_itr


def load_named_checkpoint(
    load: Callable[..., Any], trainer: Any, filename: str, *args: Any, **kwargs: Any
):
    """`Trainer.load_checkpoint`, whose errors are ValueErrors that name the flags that differ."""
    try:
        return load(trainer, filename, *args, **kwargs)
    except Exception as error:
        origin = trainer.task.origin
        there = {} if origin is None else origin.settings
        here = settings_of_run(trainer.cfg)
        differ = [f"{f} is {v} there and {here[f]} here" for f, v in there.items() if v != here[f]]
        cause = error.__context__ or error
        what = " and ".join(differ) or f"{type(cause).__name__}: {in_short(cause)}"
        raise ValueError(
            f"{'--restore-file' if origin is None else origin.flag}: {filename} does not fit this "
            f"run ({what}): give the same flags; or, for another optimizer or schedule, "
            "--reset-optimizer and --reset-lr-scheduler"
        ) from error


def _why_finished(cfg: Any, trainer: Any, updates: int, waited: int) -> str | None:
    """Why the run had ended; None if it had not."""
    wanted = trainer.cfg.optimization
    if 0 < wanted.max_update <= updates:
        return f"--max-update {wanted.max_update} was reached"
    # from the checkpoint, and so the same on all ranks
    if 0 < wanted.stop_time_hours < trainer._previous_training_time / 3600:
        return f"--stop-time-hours {wanted.stop_time_hours:g} was reached"
    if 0 < cfg.patience <= waited:
        return f"--patience {cfg.patience} was reached: {waited} validations without an improvement"
    return None


def _refuse_without_optimizer(
    cfg: Any, trainer: Any, origin: Origin | None, epoch_itr: Any, updates: int
) -> None:
    """Raise ValueError, unless all epochs are done, or the data start again."""
    if cfg.reset_dataloader or 0 < trainer.cfg.optimization.max_epoch < epoch_itr.next_epoch_idx:
        return
    cure = "begin with its student and a new optimizer by --reset-optimizer --reset-dataloader "
    cure += "--reset-meters --reset-lr-scheduler"
    if origin is not None and origin.flag == "--save-dir":
        cure = f"move it away to train from the beginning, or {cure}"
    where = f"{origin.flag}: {origin.path}" if origin is not None else cfg.restore_file
    raise ValueError(
        f"{where} ({updates} updates) has no optimizer's state (--no-save-optimizer-state), so "
        f"that no run can resume from it: {cure}"
    )
