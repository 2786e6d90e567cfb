"""Checks of flag values: one error each, with the flag, the rule and the value."""

import math
import os
from argparse import Namespace
from typing import Any, Dict

from fairseq.criterions.sentence_prediction import SentencePredictionConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from ..losses import DISTANCES, LossWeights
from ..names import as_flag


def _check(cfg, name: str, allowed: bool, rule: str) -> None:
    if not allowed:
        raise ValueError(f"{as_flag(name)} must be {rule}, got {cfg[name]}")


def check_task_flags(cfg) -> None:
    """Check the task's configuration; see ``MixKDSentencePredictionConfig``."""
    rule = ">= 1, the classes or regression targets (train_flags.txt of the data folder has it)"
    _check(cfg, "num_classes", cfg.num_classes > 0, rule)
    rule = "> 0 (--mixup-ratio 0 turns mixing off)"
    _check(cfg, "mixup_alpha", 0 < cfg.mixup_alpha < math.inf, rule)
    _check(cfg, "mixup_ratio", cfg.mixup_ratio >= 0, ">= 0")
    if cfg.multi_label and cfg.regression_target:
        raise ValueError("--multi-label must be given without --regression-target, got both")
    _check(cfg, "mixup_period", cfg.mixup_period >= 0, ">= 0 epochs (0: new mixes every epoch)")
    _check(cfg, "rendezvous_timeout", cfg.rendezvous_timeout > 0, "> 0 seconds")
    _check(cfg, "train_fraction", 0 < cfg.train_fraction <= 1, "in (0, 1]")
    for name in ("teacher_labels", "teacher_weights", "teacher_data", "teacher_cache"):
        if cfg[name] is not None and not cfg.teacher_path:
            raise ValueError(f"{as_flag(name)} {cfg[name]} needs --teacher-path, which is missing")
    cropped = {
        "teacher_data": "student and teacher would read different parts of a text",
        "teacher_cache": "no cropped text is repeated",
    }
    for name, reason in cropped.items():
        if cfg[name] is not None and cfg.shorten_method == "random_crop":
            raise ValueError(
                f"--shorten-method must be none or truncate with {as_flag(name)} {cfg[name]}, got "
                f"random_crop: {reason}"
            )
    if cfg.get("d2v2_multi"):
        raise ValueError("--d2v2-multi must be left out: its batches are for models of data2vec")
    of_embeddings = set(str(cfg.mixup_kind).split(":")) == {"interpolate"}
    if cfg.teacher_data is not None:
        rule = (
            f"interpolate with --teacher-data {cfg.teacher_data}: two vocabularies have no common"
        )
        _check(cfg, "mixup_kind", of_embeddings, f"{rule} places to cut a text")
    if cfg.shorten_method == "random_crop":
        rule = "interpolate with --shorten-method random_crop: its texts begin and end anywhere"
        _check(cfg, "mixup_kind", of_embeddings, rule)


def take_from_criterion(cfg) -> None:
    """Copy the criterion's head or kind of target to the task; ValueError if that has another."""
    root = cfg._get_root()
    criterion, task = root.get("criterion"), root.get("task")
    for name in ("regression_target", "classification_head_name"):
        given = criterion.get(name) if isinstance(criterion, DictConfig) else None
        if given is None or given == cfg[name]:
            continue
        if cfg[name] != SentencePredictionConfig.__dataclass_fields__[name].default:
            raise ValueError(
                f"criterion.{name} must be that of the task, {cfg[name]}, got {given}: set "
                f"task.{name} alone, or both to the same value"
            )
        cfg[name] = given
        if isinstance(task, DictConfig):  # saved in checkpoints; ``cfg`` is a copy of it
            with open_dict(task):
                task[name] = given


def check_data_folder(folder: str) -> None:
    """Check before training: fairseq cannot train on a folder whose name it splits."""
    if os.pathsep in folder and "://" not in folder:
        raise ValueError(
            f"data folder must not have {os.pathsep!r} in its name, got {folder}: fairseq-train "
            "splits it there; rename the folder, or use a link"
        )


def check_criterion_flags(cfg, mixup_ratio: int, multi_label: bool) -> None:
    """Check the criterion's configuration; see ``MixKDCriterionConfig``."""
    weights = LossWeights.of(cfg)
    for term, weight in weights._asdict().items():
        _check(cfg, f"{term}_weight", 0 <= weight < math.inf, ">= 0")
    if not (weights.need_clean or weights.need_mixes):
        raise ValueError(
            "--mle-weight, --kd-weight, --sm-weight or --tmkd-weight must be > 0, got 0 for all"
        )
    mixed = weights.flags("sm", "tmkd")
    if mixed and mixup_ratio == 0:
        raise ValueError(
            f"--mixup-ratio 0 leaves no mixed examples for {mixed}: set the weight to 0, or the "
            "ratio to 1 or more"
        )
    needed = {  # kind of label of each metric
        **dict.fromkeys(("report_mcc", "report_acc_and_f1"), "one class for each text"),
        "report_pearson_and_spearman": "--regression-target",
        "report_average_precision": "--multi-label",
    }
    kind = "--regression-target" if cfg.regression_target else "one class for each text"
    kind = "--multi-label" if multi_label else kind
    for name, needs in needed.items():
        if cfg[name] and needs != kind:
            raise ValueError(f"{as_flag(name)} must be given with {needs}, got {kind}")


def check_distance(cfg) -> None:
    """Check the criterion's distance before training: a trained student needs none."""
    kind, temperature = cfg.distill_distance, cfg.distill_temperature
    has_temperature = DISTANCES.find(kind).has_temperature
    rule = "> 0"
    if not has_temperature:
        rule = f"1 with --distill-distance {kind}, which has no temperature"
    fits = 0 < temperature < math.inf if has_temperature else temperature == 1
    _check(cfg, "distill_temperature", fits, rule)
    if cfg.regression_target:
        _check(cfg, "distill_distance", kind == "mse", "mse with --regression-target")


# Settings that may differ between the processes of a run: ranks, hosts, paths and output. Data is
# compared by content.
_OF_ONE_PROCESS = frozenset((
    "data", "teacher_data", "user_dir", "save_dir", "tensorboard_logdir", "wandb_project",
    "log_file", "log_interval", "log_format", "no_progress_bar", "num_workers", "num_workers_valid",
    "data_buffer_size", "job_logging_cfg", "device_id", "local_rank", "distributed_rank",
    "distributed_init_method", "distributed_port", "distributed_num_procs", "nprocs_per_node",
))  # fmt: skip


def flags_of_run(cfg) -> Dict[str, Any]:
    """All flags that must be equal in all processes, from a part of the run's configuration."""
    found: Dict[str, Any] = {}

    def add(values: Dict[str, Any]) -> None:
        for name, value in values.items():
            value = vars(value) if isinstance(value, Namespace) else value
            if name in _OF_ONE_PROCESS:
                continue
            if isinstance(value, dict):
                add(value)
            else:
                found[as_flag(name)] = value

    root = OmegaConf.to_container(cfg._get_root(), resolve=True, enum_to_str=True)
    for name, section in root.items():
        if isinstance(section, dict):
            found[f"--{name}"] = section.pop("_name", None)
        add({name: section})
    return found
