"""Dummy batches, logged values without a batch, and the check of gradients."""

import sys
from typing import Any, Dict, List

import torch
from fairseq import utils


def dummy_sample(sample: Dict[str, Any], mixing: bool) -> Dict[str, Any]:
    """A batch's first example; it is its own partner if it has none."""
    row = utils.apply_to_sample(lambda rows: rows[:1], sample)
    if mixing and "partner" not in row:
        lam = torch.ones(1, dtype=torch.float64, device=row["id"].device)
        row.update(partner=row.copy(), lam=lam)
    return row


def zeros_like_logging_output(value: Any) -> Any:
    """A zero of the value's type: all ranks must log the same types."""
    return torch.zeros_like(value) if torch.is_tensor(value) else type(value)()


def to_cpu(outputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The same values on the CPU, by a single transfer."""
    tensors = [v for output in outputs for v in output.values() if torch.is_tensor(v)]
    if not tensors:
        return outputs
    # float64 represents every float32 and every count
    numbers = torch.cat([t.detach().reshape(-1).double() for t in tensors]).cpu()
    parts = iter(numbers.split([t.numel() for t in tensors]))

    def fetch(value: Any) -> Any:
        if not torch.is_tensor(value):
            return value
        return next(parts).view(value.shape).to(value.dtype)

    return [{name: fetch(value) for name, value in output.items()} for output in outputs]


def stop_where_not_finite(model, optimizer, update_num: int) -> None:
    """End a run whose gradients are not finite; called at each step.

    fairseq repeats such a step while it handles its error, to print where it fails; for RoBERTa
    this fails itself with a StopIteration.

    Raises:
        ValueError: with the likely cause
        FloatingPointError: fairseq's own, of another kind (its loss scale)
    """
    error = sys.exc_info()[1]
    if not isinstance(error, FloatingPointError):
        return
    if str(error) != "gradients are Nan/Inf":
        raise error
    names = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if names and update_num == 0:
        cause = (
            f"its {names[0]} is not finite before any update; give another file to begin from "
            "(--student-init-path, --restore-file, --finetune-from-model)"
        )
    else:
        cause = (
            f"lower --lr (now {optimizer.get_lr():g}) or set --clip-norm, and check for very large "
            "regression targets or teacher logits"
        )
    raise ValueError(
        f"update {update_num + 1}: the student's gradients are not finite numbers (nan or "
        f"infinity): {cause}"
    ) from error
