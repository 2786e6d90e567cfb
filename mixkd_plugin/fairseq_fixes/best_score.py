"""The best score and the patience of a run belong to that run, and are saved with it.

fairseq stores them as attributes of its functions: a second run in the same process (a sweep by
hydra) begins with those of the first, and a resumed run counts --patience and --lr-patience from 0.
Upstream: not reported.

It acts where a run of our tasks begins, resumes or is saved. It sets or deletes ``best`` and
``num_runs``, as fairseq does.
"""

from __future__ import annotations

import contextlib
import math
import sys
from typing import Any, Callable, Iterator

from fairseq import checkpoint_utils
from torch.optim.lr_scheduler import ReduceLROnPlateau

_OF_PLATEAU = ("num_bad_epochs", "cooldown_counter")


def _counters() -> Iterator[Callable]:
    """fairseq's functions that store the number of validations without an improvement.

    ``fairseq_cli.train`` is the main module where it runs as ``python -m``.
    """
    for name in ("fairseq_cli.train", "__main__"):
        function = getattr(sys.modules.get(name), "should_stop_early", None)
        if function is not None:
            yield function


def _plateau(trainer: Any) -> ReduceLROnPlateau | None:
    """torch's schedule in fairseq's reduce_lr_on_plateau."""
    schedule = getattr(trainer.lr_scheduler, "lr_scheduler", None)
    return schedule if isinstance(schedule, ReduceLROnPlateau) else None


def reset_best_score() -> None:
    """Forget the best score and the patience of an earlier run."""
    for function in (checkpoint_utils.save_checkpoint, *_counters()):
        for name in ("best", "num_runs"):
            with contextlib.suppress(AttributeError):
                delattr(function, name)


def forget_nan() -> None:
    """Forget a best score that is nan: no later one would be better."""
    for counter in _counters():
        if math.isnan(getattr(counter, "best", None) or 0.0):
            del counter.best


def note_patience(trainer: Any) -> None:
    """Put the counts of --patience and --lr-patience into the task's state, to be saved."""
    forget_nan()
    state = trainer.task.state
    for counter in _counters():
        if hasattr(counter, "best"):
            value = {"best": float(counter.best), "num_runs": counter.num_runs}
            state.merge_state_dict({"patience": value})
    plateau = _plateau(trainer)
    if plateau is not None:
        state.merge_state_dict({"lr_patience": {n: getattr(plateau, n) for n in _OF_PLATEAU}})


def restore_patience(trainer: Any, task_state: dict[str, Any], with_schedule: bool) -> int:
    """Restore :func:`note_patience`'s counts; returns the validations without an improvement."""
    noted = task_state.get("patience", {})
    if noted:
        for counter in _counters():
            counter.best, counter.num_runs = noted["best"], noted["num_runs"]
    plateau = _plateau(trainer)
    if with_schedule and plateau is not None:
        vars(plateau).update(task_state.get("lr_patience", {}))
    return noted.get("num_runs", 0)
