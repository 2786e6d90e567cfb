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
    """Layers, parameters and bytes of the weights of a file or folder; tied ones count once."""
    folder = folder_of(checkpoint)
    tensors = read_checkpoint(checkpoint)["model"] if folder is None else read_weights(folder)
    tensors = {name: t for name, t in tensors.items() if not name.endswith(".version")}
    words = [t for name, t in tensors.items() if name.endswith("embed_tokens.weight")]
    distinct = {  # some are tied; --bf16 saves tied weights twice
        t.data_ptr(): t
        for name, t in tensors.items()
        if not (name.endswith("lm_head.weight") and any(torch.equal(t, one) for one in words))
    }.values()
    return {
        "layers": count_layers(tensors),
        "parameters": sum(t.numel() for t in distinct),
        "bytes": sum(t.numel() * t.element_size() for t in distinct),
    }
