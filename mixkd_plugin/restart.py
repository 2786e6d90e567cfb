"""What fairseq forgets, or does wrongly, where a run begins or begins again.

For our own tasks' runs :mod:`mixkd_plugin.compat` puts :func:`load_checkpoint` around fairseq's.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from functools import partial
from typing import Any, Callable, Iterator, NamedTuple

from fairseq import checkpoint_utils
from fairseq.logging import metrics
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .model import FAIRSEQ_EPS
from .optimizer_state import complete
from .settings import real

logger = logging.getLogger(__name__)

FINETUNE = "--finetune-from-model"
LAYER_NORM_EPS = "--layer-norm-eps"


class Origin(NamedTuple):
    """The checkpoint that training is about to begin from.

    flag, path: which flag names it, and the file
    task_state: what our task left in it
    settings: by flag, those of its run that must be this run's, too, to go on from it
    """

    flag: str
    path: str
    task_state: dict[str, Any]
    settings: dict[str, Any]


class Resumable:
    """A task whose runs are saved and resumed as this module and `interruption` describe.

    Runs of other tasks are fairseq's alone, also where this package is imported.
    """

    origin: Origin | None = None  # set by `build_model`; None for a run that begins anew


def settings_of_run(cfg: Any) -> dict[str, Any]:
    """What a run cannot go on with another value of, by flag.

    Args:
        cfg: a whole configuration, of a checkpoint (a dict) or of a run
    """
    names = {
        "model": {"_name": "--arch", **{name: f"--{name.replace('_', '-')}" for name in _SIZES}},
        "task": {name: f"--{name.replace('_', '-')}" for name in _OF_TASK},
        "optimizer": {"_name": "--optimizer"},
        "lr_scheduler": {"_name": "--lr-scheduler"},
        "criterion": {"_name": "--criterion"},
        "common": {name: f"--{name.replace('_', '-')}" for name in _PRECISIONS},
        "optimization": {"use_bmuf": "--use-bmuf"},
    }
    found = {}
    for section, keys in names.items():
        values = cfg.get(section) or {}
        values = values if hasattr(values, "get") else getattr(values, "__dict__", {})
        found.update({flag: values.get(key) for key, flag in keys.items()})
        if section == "model":
            found[LAYER_NORM_EPS] = real(values, "layer_norm_eps") or FAIRSEQ_EPS
    return found


_SIZES = (
    "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads",
    "max_positions", "untie_weights_roberta", "activation_fn", "pooler_activation_fn",
)  # fmt: skip
_OF_TASK = ("init_token", "separator_token", "num_classes", "classification_head_name")
_PRECISIONS = ("fp16", "bf16", "amp", "memory_efficient_fp16", "memory_efficient_bf16")


# --- patience ---


def _counters() -> Iterator[Callable]:
    """fairseq's functions that count validations without a gain, on themselves.

    ``fairseq_cli.train`` is the main module where it runs as ``python -m``.
    """
    for name in ("fairseq_cli.train", "__main__"):
        function = getattr(sys.modules.get(name), "should_stop_early", None)
        if function is not None:
            yield function


def note_patience(trainer: Any) -> None:
    """Put how long --patience and --lr-patience have waited into the task's state, to be saved."""
    state = trainer.task.state
    for counter in _counters():
        if hasattr(counter, "best"):
            value = {"best": float(counter.best), "num_runs": counter.num_runs}
            state.merge_state_dict({"patience": value})
    plateau = _plateau(trainer)
    if plateau is not None:
        state.merge_state_dict({"lr_patience": {n: getattr(plateau, n) for n in _OF_PLATEAU}})


_OF_PLATEAU = ("num_bad_epochs", "cooldown_counter")


def _plateau(trainer: Any) -> ReduceLROnPlateau | None:
    """torch's schedule in fairseq's reduce_lr_on_plateau."""
    schedule = getattr(trainer.lr_scheduler, "lr_scheduler", None)
    return schedule if isinstance(schedule, ReduceLROnPlateau) else None


def _forget_earlier_run() -> None:
    """What fairseq keeps on its functions, and never takes away."""
    for function in (checkpoint_utils.save_checkpoint, *_counters()):
        for name in ("best", "num_runs"):
            with contextlib.suppress(AttributeError):
                delattr(function, name)


def _restore_patience(noted: dict[str, Any]) -> None:
    for counter in _counters():
        counter.best, counter.num_runs = noted["best"], noted["num_runs"]


# --- loading ---


def load_checkpoint(
    load: Callable[..., Any], cfg: Any, trainer: Any, **passthrough_args: Any
) -> tuple[Any, Any]:
    """`checkpoint_utils.load_checkpoint`, and what fairseq forgets when a run begins or resumes.

    A process's earlier run (a sweep's, by hydra) leaves its best score and its patience behind.

    fairseq saves at the end of an epoch and tells the schedule afterwards how validation went, so
    that a run that resumes from there never does: reduce_lr_on_plateau would not see that epoch.
    And it goes on, one update or for ever, at every start of a run that had ended.

    Without the optimizer's state it would begin at update 0 and in the middle of the data, and
    write over the student that is there.

    Raises:
        ValueError: where the checkpoint does not fit this run, or lacks that state while updates
            are still to be made.
    """
    task = trainer.task
    if not isinstance(task, Resumable):
        return load(cfg, trainer, **passthrough_args)
    _forget_earlier_run()
    trainer._build_optimizer = partial(_build_optimizer, trainer, trainer._build_optimizer)
    trainer.load_checkpoint = partial(_load_named, trainer, trainer.load_checkpoint)
    extra_state, epoch_itr = load(cfg, trainer, **passthrough_args)
    # fairseq's loaded meters are not those that count on: it would save them again, unchanged
    metrics._active_aggregators["default"] = metrics._aggregators["default"]
    if extra_state is None:
        return extra_state, epoch_itr
    finetunes = task.origin is not None and task.origin.flag == FINETUNE
    if finetunes or cfg.reset_optimizer or cfg.reset_dataloader:
        trainer._previous_training_time = 0  # another run's
    if finetunes:
        return extra_state, epoch_itr

    noted = {}
    if task.origin is not None and not (cfg.reset_optimizer or cfg.reset_meters):
        noted = task.origin.task_state.get("patience", noted)
        if noted:
            _restore_patience(noted)
        if not cfg.reset_lr_scheduler and _plateau(trainer) is not None:
            vars(_plateau(trainer)).update(task.origin.task_state.get("lr_patience", {}))
    history = trainer._optim_history
    has_optimizer = trainer.get_num_updates() > 0 or cfg.reset_optimizer or not history
    updates = trainer.get_num_updates() if has_optimizer else history[-1].get("num_updates", 0)
    reason = _why_finished(cfg, trainer, updates, noted.get("num_runs", 0))
    if reason is not None:
        logger.info("%s: nothing is left to do", reason)
        trainer.cfg.optimization.max_epoch = -1  # what fairseq looks at before the first update
    elif updates > 0 and not has_optimizer:
        _refuse_without_optimizer(cfg, trainer, task.origin, epoch_itr, updates)
    elif updates > 0 and not cfg.reset_dataloader:
        position = extra_state["train_iterator"]
        if position.get("iterations_in_epoch") == 0 and not cfg.reset_lr_scheduler:
            trainer.lr_step(position["epoch"] - 1, extra_state.get("val_loss"))
    return extra_state, epoch_itr


def _build_optimizer(trainer: Any, build: Callable[[], None]) -> None:
    build()
    complete(trainer.optimizer)


def _load_named(trainer: Any, load: Callable[..., Any], filename: str, *args: Any, **kwargs: Any):
    """`Trainer.load_checkpoint`, whose errors name the flags that differ."""
    try:
        return load(filename, *args, **kwargs)
    except Exception as error:
        origin = trainer.task.origin
        there = {} if origin is None else origin.settings
        here = settings_of_run(trainer.cfg)
        differ = [f"{f} is {v} there and {here[f]} here" for f, v in there.items() if v != here[f]]
        cause = error.__context__ or error
        reason = " ".join(str(cause).split())[:200]
        what = " and ".join(differ) or f"{type(cause).__name__}: {reason}"
        raise ValueError(
            f"{'--restore-file' if origin is None else origin.flag}: {filename} does not fit this "
            f"run ({what}): give the same flags; or, for another optimizer or schedule, "
            "--reset-optimizer and --reset-lr-scheduler"
        ) from error


def _why_finished(cfg: Any, trainer: Any, updates: int, num_runs: int) -> str | None:
    """Why the run had ended; None where it had not."""
    wanted = trainer.cfg.optimization
    if 0 < wanted.max_update <= updates:
        return f"--max-update {wanted.max_update} was reached"
    # of the checkpoint, and so the same on all ranks
    if 0 < wanted.stop_time_hours < trainer._previous_training_time / 3600:
        return f"--stop-time-hours {wanted.stop_time_hours:g} was reached"
    if 0 < cfg.patience <= num_runs:
        return f"--patience {cfg.patience} was reached: {num_runs} validations were no better"
    return None


def _refuse_without_optimizer(
    cfg: Any, trainer: Any, origin: Origin | None, epoch_itr: Any, updates: int
) -> None:
    """Raise ValueError, unless all epochs are done, or the data begin anew."""
    if cfg.reset_dataloader or 0 < trainer.cfg.optimization.max_epoch < epoch_itr.next_epoch_idx:
        return
    cure = "begin with its student and a new optimizer by --reset-optimizer --reset-dataloader "
    cure += "--reset-meters --reset-lr-scheduler"
    if origin is not None and origin.flag == "--save-dir":
        cure = f"move it away to train from the beginning, or {cure}"
    where = f"{origin.flag}: {origin.path}" if origin is not None else cfg.restore_file
    raise ValueError(
        f"{where} ({updates} updates) has no optimizer's state (--no-save-optimizer-state), so "
        f"that no run can go on from it: {cure}"
    )
