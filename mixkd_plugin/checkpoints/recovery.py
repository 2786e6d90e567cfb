"""Finds the checkpoint that a run begins from."""

from __future__ import annotations

import contextlib
import os
import re
from numbers import Real
from typing import Any

from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from torch import Tensor

from .. import distributed
from .origin import FINETUNE, Origin, settings_of_run, shown_labels
from .safe_load import DamagedError, read_checkpoint
from .settings import shown


def _named(flags: CheckpointConfig, suffix: str) -> tuple[str, str]:
    """The flag that fairseq uses, and its file; that of --save-dir may not exist."""
    if flags.restore_file != CheckpointConfig.restore_file:
        return "--restore-file", flags.restore_file.replace(".pt", suffix + ".pt")
    path = os.path.join(flags.save_dir, f"checkpoint_last{suffix}.pt")
    if not PathManager.exists(path):
        if flags.continue_once is not None:
            return "--continue-once", flags.continue_once
        if flags.finetune_from_model is not None:
            return FINETUNE, flags.finetune_from_model
    return "--save-dir", path


def find(flags: CheckpointConfig, suffix: str = "") -> Origin | None:
    """The checkpoint that training is about to begin from, None for a new run.

    Args:
        suffix: before the ending of the run's files

    Raises:
        ValueError: where a file that a flag names is missing, or the checkpoint cannot be read; of
            a damaged one of --save-dir it names the newest that a run can go on from.
    """
    flag, path = _named(flags, suffix)
    if PathManager.path_requires_pathmanager(path):
        return None  # in a remote store of fairseq's
    if not os.path.isfile(path) and flag == "--save-dir":
        return None
    if not os.path.exists(path):
        raise ValueError(
            f"{flag} must be a checkpoint, got {path}, which does not exist (a path that is not "
            "absolute begins at the current folder): leave the flag out to train from the "
            "beginning, or to resume from --save-dir"
        )
    try:
        return _origin(flag, path, read_checkpoint(path))
    except DamagedError as error:
        raise ValueError(f"{flag}: {error}: {_cure(flag, path, suffix)}") from error
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from error


def _cure(flag: str, path: str, suffix: str) -> str:
    if flag != "--save-dir":
        return "name another one, or leave the flag out to resume from --save-dir"
    cure = "move it away to train from the beginning, or "
    newest = _newest_complete(os.path.dirname(path), suffix)
    if newest is None:
        return cure + "name a checkpoint with --restore-file; no other one there is complete"
    newest = f"{newest.removesuffix(f'{suffix}.pt')}.pt"  # fairseq adds the suffix
    return cure + f"resume from the newest complete one, by --restore-file {newest} once"


def _newest_complete(folder: str, suffix: str) -> str | None:
    """The checkpoint saved last of those of a run that can be read and have the optimizer's state.

    The latest by its number of updates: copies may have any time.
    """
    name = rf"checkpoint(\d+|_\d+_\d+|_best|\.best_\w+?_-?\d+\.\d+){re.escape(suffix)}\.pt"
    newest, most = None, -1
    for path in (os.path.join(folder, f) for f in sorted(os.listdir(folder))):
        if re.fullmatch(name, os.path.basename(path)):
            with contextlib.suppress(ValueError, TypeError):
                state = read_checkpoint(path)
                updates = state["optimizer_history"][-1].get("num_updates", 0)
                if state.get("last_optimizer_state") is not None and updates > most:
                    newest, most = path, updates
    return newest


def _origin(flag: str, path: str, state: dict[str, Any]) -> Origin:
    task_state = state.get("task_state", {})
    try:  # settings are args in those of fairseq before 0.11, and in imports
        settings = settings_of_run(state.get("cfg") or {"model": state["args"]})
        if "fingerprint" in task_state:
            _ = task_state["fingerprint"]["vocabulary"], shown_labels(task_state["fingerprint"])
        _check_numbers(state)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else "its state has another form"
        raise DamagedError(f"{path} is damaged: {reason}") from error
    settings = {flag: value for flag, value in settings.items() if value is not None}
    return Origin(flag, path, task_state, settings)


def _check_numbers(state: dict[str, Any]) -> None:
    """What a run that goes on compares and counts with."""
    extra, history = state.get("extra_state", {}), state["optimizer_history"][-1]
    parts = (
        (extra, "best", "val_loss", "previous_training_time"),
        (extra.get("train_iterator", {}), "epoch", "iterations_in_epoch"),
        (history, "num_updates"),
        (state.get("task_state", {}).get("patience", {}), "best", "num_runs"),
    )
    for part, *names in parts:
        for name in names:
            value = part.get(name, 0)
            if not isinstance(value, (Real, Tensor)) and (name, value) != ("val_loss", None):
                raise ValueError(f"its {name} must be a number, got {shown(value)}")


def find_on_every_rank(cfg: Any) -> Origin | None:
    """:func:`find` by the first rank, with its result on all; ``cfg`` is a full configuration's.

    Raises:
        ValueError: on every rank, if :func:`find` does, or if only some ranks have the file.
    """
    flags, distribution, shard = cfg.checkpoint, cfg.distributed_training, ""
    if distribution.use_sharded_state and distribution.ddp_backend == "fully_sharded":
        shard = f"-shard{distributed.rank()}"  # each rank has its own file
    suffix, origin = (flags.checkpoint_suffix or "") + shard, None
    with distributed.raise_on_all_ranks():
        if distributed.rank() == 0:
            origin = find(flags, suffix)
    flag, path = _named(flags, suffix)
    # fairseq's first rank would send what it read to ranks that do not wait for it
    name = os.path.basename(path).replace(f"{shard}.pt", ".pt")
    distributed.check_equal({f"{flag}: whether {name} is there": os.path.isfile(path)})
    return distributed.gather(origin)[0]
