"""fairseq's own flags that our task cannot serve, refused before anything is trained."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig


def check_saving(cfg: DictConfig) -> None:
    """Of a run's whole configuration, that its checkpoints will be written.

    Raises:
        ValueError: where fairseq would train nothing, or write files that nobody can read.
    """
    if cfg.checkpoint.write_checkpoints_asynchronously:
        raise ValueError(
            "--write-checkpoints-asynchronously must be left out: fairseq writes files that cannot "
            "be read, or trains nothing"
        )


def check_model_flags(model: Any) -> None:
    """Of a model's configuration, that its checkpoints can be loaded again.

    Raises:
        ValueError: where they cannot.
    """
    values = model if isinstance(model, DictConfig) else vars(model)
    if values.get("spectral_norm_classification_head"):
        raise ValueError(
            "--spectral-norm-classification-head must be left out: fairseq cannot load a model "
            "that was trained with it"
        )
