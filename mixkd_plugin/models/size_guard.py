"""A bound on the size of a model, as it is built."""

import contextlib
from functools import partial
from typing import Dict, Iterator, Optional

from torch import Tensor, nn

from ..checkpoints.settings import SettingsError


@contextlib.contextmanager
def no_larger_than(weights: Dict[str, Tensor]) -> Iterator[None]:
    """In its context a model far larger than the weights is an error, before it is allocated."""
    left = {
        "values": 1_000_000 + 3 * sum(value.numel() for value in weights.values()),
        "buffers": 50_000_000 + 3 * sum(value.numel() for value in weights.values()),
        "parameters": 100 + 3 * len(weights),
    }

    def count(kind: str, _module: nn.Module, _name: str, value: Optional[Tensor]) -> None:
        if value is not None:
            left[kind] -= value.numel()
            left["parameters"] -= 1
        if min(left.values()) < 0:
            raise SettingsError("its settings must fit its weights, got a far larger model")

    handles = [
        nn.modules.module.register_module_parameter_registration_hook(partial(count, "values")),
        # tables and masks of a model may be in no file
        nn.modules.module.register_module_buffer_registration_hook(partial(count, "buffers")),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
