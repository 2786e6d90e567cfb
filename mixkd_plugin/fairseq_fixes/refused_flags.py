"""Refuses flags with which fairseq trains nothing, or writes files that cannot be loaded.

Upstream: not reported. It acts where a run of our tasks begins, before anything is trained.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from omegaconf import DictConfig

from ..names import as_flag

PACKAGE = __package__.partition(".")[0]

logger = logging.getLogger(__name__)


def check_saving(cfg: DictConfig) -> None:
    """Raise ValueError unless fairseq will write a run's checkpoints, and can read them."""
    if cfg.checkpoint.write_checkpoints_asynchronously:
        raise ValueError(
            "--write-checkpoints-asynchronously must be left out: fairseq writes files that cannot "
            "be read, or trains nothing"
        )


def check_processes(cfg: DictConfig) -> None:
    """Check in a run's configuration that fairseq will start its processes, and where.

    Raises:
        ValueError: if it would start one for each GPU without a GPU, and report success; or if the
            student would be on another device than its batches, and so the teacher's logits.
    """
    training = cfg.distributed_training
    if training.cpu_offload and cfg.task.get("teacher_path"):
        raise ValueError(
            "--cpu-offload must be left out with --teacher-path: the teacher's logits would be on "
            "the CPU, and the student's on the GPU"
        )
    spawns = training.distributed_init_method is not None and not training.distributed_no_spawn
    if spawns and not torch.cuda.is_available():
        raise ValueError(
            f"--distributed-world-size {training.distributed_world_size}: without a GPU fairseq "
            "starts no process; start each of them with --distributed-no-spawn and its own "
            "--distributed-rank"
        )


_MODEL_FLAGS = {
    "spectral_norm_classification_head": (False, "fairseq cannot load what was trained with it"),
    "mha_heads_to_keep": (-1, "fairseq prunes only where it loads, and cannot resume"),
    "ffn_blocks_to_remove": (-1, "fairseq prunes only where it loads, and cannot resume"),
    "encoder_layers_to_keep": (
        None,
        "fairseq prunes again wherever it loads; choose layers by --student-init-layers",
    ),
}


def check_model_flags(model: Any) -> None:
    """Raise ValueError unless fairseq follows a model's flags and can load its checkpoints."""
    values = model if isinstance(model, DictConfig) else vars(model)
    for name, (default, reason) in _MODEL_FLAGS.items():
        value = values.get(name, default)
        if value not in (default, None):
            given = as_flag(name) if value is True else f"{as_flag(name)} {value}"
            raise ValueError(f"{given} must be left out: {reason}")


_HIGHER_IS_BETTER = {
    "accuracy", "agreement", "mcc", "f1", "acc_and_f1", "pearson", "spearman",
    "pearson_and_spearman", "micro_f1", "macro_f1", "mean_average_precision",
}  # fmt: skip


def check_best_metric(criterion: Any) -> None:
    """--best-checkpoint-metric must be logged in validation; fairseq checks it after an epoch.

    Raises:
        ValueError: if it is not. A criterion or task that extends ours may log more: a warning.
    """
    run = criterion.task.cfg._get_root()
    if "dataset" not in run or run.dataset.disable_validation:
        return
    metric, known = run.checkpoint.best_checkpoint_metric, criterion.validation_metrics()
    if metric not in known:
        text = (
            f"--best-checkpoint-metric must be one of {', '.join(sorted(known))}, which this run "
            f"logs in validation, got {metric}"
        )
        extended = (type(criterion), type(criterion.task))
        if all(kind.__module__.startswith(f"{PACKAGE}.") for kind in extended):
            raise ValueError(text)
        logger.warning("%s: is it logged by %s or %s?", text, *(k.__name__ for k in extended))
    maximize = run.checkpoint.maximize_best_checkpoint_metric
    lower_is_better = metric.endswith("loss") or metric == "ece"
    if lower_is_better if maximize else metric in _HIGHER_IS_BETTER:
        logger.warning(
            "--best-checkpoint-metric %s %s --maximize-best-checkpoint-metric keeps the worst "
            "checkpoint as checkpoint_best.pt",
            *(metric, "with" if maximize else "without"),
        )
