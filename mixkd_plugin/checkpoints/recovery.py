"""Finds the checkpoint that a run begins from, and compares it with the run."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from numbers import Real
from typing import Any, NamedTuple

from fairseq.file_io import PathManager
from torch import Tensor

from .. import distributed
from .safe_load import DamagedError, read_checkpoint
from .settings import FAIRSEQ_EPS, one_of, real, shown, shown_names

logger = logging.getLogger(__name__)

FINETUNE = "--finetune-from-model"
LAYER_NORM_EPS, TOKEN_TYPES = "--layer-norm-eps", "--token-types"
DEFAULT = "checkpoint_last.pt"  # of --restore-file


class Origin(NamedTuple):
    """The checkpoint that training is about to begin from.

    flag, path: which flag names it, and the file
    task_state: saved by our task
    settings: those that a run must share with it to resume from it, by flag
    """

    flag: str
    path: str
    task_state: dict[str, Any]
    settings: dict[str, Any]


def settings_of_run(cfg: Any) -> dict[str, Any]:
    """Settings that must stay equal when a run resumes, by flag; ``cfg``: full, or a dict."""
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
        if section == "task" and values.get("num_classes") is not None:  # else it has no labels
            found["--multi-label"] = bool(values.get("multi_label"))
        if section == "model":
            found[LAYER_NORM_EPS] = real(values, "layer_norm_eps") or FAIRSEQ_EPS
            network = values.get("hf_config") or {}  # of --arch mixkd_hf
            found.update({_OF_NETWORK + k: v for k, v in network.items() if "dropout" not in k})
            found[TOKEN_TYPES] = one_of(values, "token_types", (1, 2), 1)
    return found


_SIZES = (
    "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads",
    "max_positions", "untie_weights_roberta", "activation_fn", "pooler_activation_fn",
)  # fmt: skip
_OF_TASK = ("init_token", "separator_token", "num_classes", "classification_head_name")
_PRECISIONS = ("fp16", "bf16", "amp", "memory_efficient_fp16", "memory_efficient_bf16")


def _named(
    save_dir: str,
    restore_file: str,
    suffix: str,
    continue_once: str | None,
    finetune_from_model: str | None,
) -> tuple[str, str]:
    """The flag that fairseq uses, and its file; that of --save-dir may not exist."""
    if restore_file != DEFAULT:
        return "--restore-file", restore_file.replace(".pt", suffix + ".pt")
    path = os.path.join(save_dir, f"checkpoint_last{suffix}.pt")
    if not PathManager.exists(path):
        if continue_once is not None:
            return "--continue-once", continue_once
        if finetune_from_model is not None:
            return FINETUNE, finetune_from_model
    return "--save-dir", path


def find(
    save_dir: str,
    restore_file: str,
    suffix: str = "",
    continue_once: str | None = None,
    finetune_from_model: str | None = None,
) -> Origin | None:
    """The checkpoint that training is about to begin from, None for a new run.

    Raises:
        ValueError: where a file that a flag names is missing, or the checkpoint cannot be read; of
            a damaged one of --save-dir it names the newest that a run can go on from.
    """
    flag, path = _named(save_dir, restore_file, suffix, continue_once, finetune_from_model)
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
            _ = task_state["fingerprint"]["vocabulary"], _names(task_state["fingerprint"])
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
    where = flags.save_dir, flags.restore_file, (flags.checkpoint_suffix or "") + shard
    others = flags.continue_once, flags.finetune_from_model
    origin = None
    with distributed.raise_on_all_ranks():
        if distributed.rank() == 0:
            origin = find(*where, *others)
    flag, path = _named(*where, *others)
    # fairseq's first rank would send what it read to ranks that do not wait for it
    name = os.path.basename(path).replace(f"{shard}.pt", ".pt")
    distributed.check_equal({f"{flag}: whether {name} is there": os.path.isfile(path)})
    return distributed.gather(origin)[0]


def check_content(origin: Origin, ours: dict[str, Any], goes_on: bool) -> None:
    """The checkpoint's vocabulary and classes must be the data's.

    Args:
        ours: the data's, as :func:`mixkd_plugin.fingerprints.fingerprint` has them
        goes_on: whether the checkpoint's run resumes; a new run may have other classes

    Raises:
        ValueError: if they differ.
    """
    theirs = origin.task_state.get("fingerprint", ours)  # fairseq's own task records none
    trained = f"{origin.flag}: {origin.path} was trained"
    if theirs["vocabulary"] != ours["vocabulary"]:
        raise ValueError(
            f"{trained} on another vocabulary than the data folder's input0/dict.txt: give the "
            "data that it was trained on, or another checkpoint or --save-dir"
        )
    if theirs["labels"] != ours["labels"]:
        text = f"{trained} with the labels {_names(theirs)}, the data folder has {_names(ours)}"
        if goes_on:
            raise ValueError(
                f"{text}: give the data that it was trained on, or another checkpoint or --save-dir"
            )
        logger.warning("%s: its classification head, if loaded, has the former's order", text)


def check_settings(origin: Origin, ours: dict[str, Any], goes_on: bool) -> None:
    """Raise ValueError, with the flag, where settings that change the computation, but not the
    shapes of weights, are not ``ours``, :func:`settings_of_run`'s."""
    flags = (*_OF_ENCODER, *(_OF_HEAD_AND_TEXTS if goes_on else ()))
    flags += tuple(flag for flag in origin.settings if flag.startswith(_OF_NETWORK))
    ours_too = "fingerprint" in origin.task_state  # then a missing setting was not given
    for flag in flags:
        theirs, here = origin.settings.get(flag), ours.get(flag)
        known = theirs is not None or (ours_too and flag in _OF_TEXTS)
        if known and theirs != here:
            raise ValueError(
                f"{flag} must be {shown_names([str(theirs)])}, with which {origin.path} "
                f"({origin.flag}) was trained, "
                f"got {here}: give the former, or another checkpoint or --save-dir"
            )


_OF_NETWORK = "--hf-model's "
_OF_ENCODER = (
    *("--encoder-attention-heads", "--activation-fn", LAYER_NORM_EPS, TOKEN_TYPES),
    "--untie-weights-roberta",
)
_OF_TEXTS = ("--init-token", "--separator-token")
_OF_HEAD_AND_TEXTS = (
    *("--pooler-activation-fn", "--num-classes", "--classification-head-name", "--multi-label"),
    *_OF_TEXTS,
)


def _names(fingerprint: dict[str, Any]) -> str:
    labels = fingerprint["labels"]
    return "of a regression" if labels is None else ", ".join(labels)
