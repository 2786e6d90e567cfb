"""What a step hands on to be logged: numbers and tensors by name, to be added up."""

from typing import Any

import torch


def nothing(value: Any) -> Any:
    """Of the value's kind, what adds nothing to others of it: all ranks must log the same kinds."""
    return torch.zeros_like(value) if torch.is_tensor(value) else type(value)()
