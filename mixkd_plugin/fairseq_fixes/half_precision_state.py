"""Runs in half precision resume exactly.

fairseq's optimizers save neither the float32 copy of the parameters, from which the next update is
computed (the model's own are rounded), nor when a loss scale will next be raised. With --amp they
divide gradients by the loss scale twice. Upstream: not reported.

It acts on the optimizer of a run of our tasks with --fp16, --bf16 or --amp.
"""

from __future__ import annotations

import logging
from typing import Any, Callable

import torch
from fairseq.optim import AMPOptimizer, FP16Optimizer, MemoryEfficientFP16Optimizer
from fairseq.optim.dynamic_loss_scaler import DynamicLossScaler

logger = logging.getLogger(__name__)

KEY = "mixkd_half_precision"
_OF_FAIRSEQS_SCALER = (
    "_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale",
)  # fmt: skip
_OF_TORCHS_SCALER = ("scale", "_growth_tracker")


def build_optimizer(build: Callable[[Any], None], trainer: Any) -> None:
    """`Trainer._build_optimizer`, whose optimizer saves all of its state."""
    build(trainer)
    complete(trainer.optimizer)


def complete(optimizer: Any) -> None:
    """Make an optimizer of fairseq save and load all of its state; in float32 it does already."""
    kinds = (FP16Optimizer, MemoryEfficientFP16Optimizer, AMPOptimizer)
    if isinstance(optimizer, kinds) and not isinstance(optimizer, _Complete):
        kind = type(optimizer)
        # fairseq compares the name of the class with a checkpoint's
        optimizer.__class__ = type(kind.__name__, (_Complete, kind), {})


class _Complete:
    def clip_grad_norm(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """fairseq's, which would lower a disabled loss scale: that of amp on a CPU."""
        if not isinstance(self, AMPOptimizer) or self.scaler.is_enabled():
            return super().clip_grad_norm(*args, **kwargs)
        norm = self.fp32_optimizer.clip_grad_norm(*args, **kwargs)
        if not torch.isfinite(norm):
            raise FloatingPointError("gradients are Nan/Inf")
        return norm

    def step(self, *args: Any, **kwargs: Any) -> None:
        """fairseq's, which with amp divides clipped gradients by the loss scale once more."""
        if not isinstance(self, AMPOptimizer):
            super().step(*args, **kwargs)
            return
        self.scaler.step(self.optimizer)  # as in clip_grad_norm, not its wrapper
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        kept = {"scaler": _scaler_state(self.scaler)}
        if isinstance(self, FP16Optimizer):
            kept["parameters"] = [copy.data for copy in _float32_copies(self)]
        return {**super().state_dict(), KEY: kept}

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Any = None) -> None:
        super().load_state_dict(state_dict, optimizer_overrides)
        kept = state_dict.get(KEY)
        if kept is None:
            logger.warning(
                "the checkpoint has no float32 copy of the parameters, or not the state of its "
                "loss scale: this run resumes from rounded values, not exactly"
            )
            return
        _load_scaler_state(self.scaler, kept["scaler"])
        if isinstance(self, FP16Optimizer):
            for copy, value in zip(_float32_copies(self), kept["parameters"], strict=True):
                copy.data.copy_(value)
            self._sync_fp32_params_to_fp16()


def _float32_copies(optimizer: FP16Optimizer) -> list[torch.Tensor]:
    copies = optimizer.fp32_params  # by device, if they are flat
    return list(copies.values()) if isinstance(copies, dict) else list(copies)


def _scaler_state(scaler: Any) -> dict[str, Any]:
    if isinstance(scaler, DynamicLossScaler):
        return {name: getattr(scaler, name) for name in _OF_FAIRSEQS_SCALER}
    state = {} if scaler is None else scaler.state_dict()  # none for bfloat16
    return {name: state[name] for name in _OF_TORCHS_SCALER if name in state}


def _load_scaler_state(scaler: Any, state: dict[str, Any]) -> None:
    if isinstance(scaler, DynamicLossScaler):
        vars(scaler).update(state)
    elif scaler is not None and scaler.is_enabled() and state:
        scaler.load_state_dict({**scaler.state_dict(), **state})
