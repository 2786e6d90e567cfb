"""Layers, parameters and bytes of checkpoints and Hugging Face folders."""

import re
from collections.abc import Iterable

import torch

from ..checkpoints.hf_weights import folder_of, read_weights
from ..checkpoints.safe_load import read_checkpoint


def count_layers(names: Iterable[str]) -> int:
    """Number of layers, from the names of a model's parameters."""
    found = (re.search(r"\.(?:layers?|albert_layer_groups)\.(\d+)\.", name) for name in names)
    return len({match[1] for match in found if match})


def size_of(checkpoint: str) -> dict[str, int]:
    """Layers, parameters and bytes of a student or teacher that serving needs.

    The optimizer's state of a checkpoint is not counted.
    """
    folder = folder_of(checkpoint)
    tensors = read_checkpoint(checkpoint)["model"] if folder is None else read_weights(folder)
    names = [name for name in tensors if not name.endswith(".version")]
    distinct = {tensors[name].data_ptr(): tensors[name] for name in names}  # some are tied
    words, head = (
        next((tensors[name] for name in names if name.endswith(end)), None)
        for end in ("embed_tokens.weight", "lm_head.weight")
    )
    if words is not None and head is not None and torch.equal(words, head):  # saved by --bf16
        distinct[words.data_ptr()] = distinct.pop(head.data_ptr())
    return {
        "layers": count_layers(names),
        "parameters": sum(t.numel() for t in distinct.values()),
        "bytes": sum(t.numel() * t.element_size() for t in distinct.values()),
    }
