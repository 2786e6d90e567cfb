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
    names = [name for name in tensors if not name.endswith(".version")]
    embeddings = [tensors[name] for name in names if name.endswith("embed_tokens.weight")]

    def is_copy(name: str) -> bool:
        """Of the embeddings: --bf16 saves tied weights twice."""
        return name.endswith("lm_head.weight") and any(
            torch.equal(tensors[name], one) for one in embeddings
        )

    kept = [name for name in names if not is_copy(name)]
    distinct = {tensors[name].data_ptr(): tensors[name] for name in kept}.values()  # some are tied
    return {
        "layers": count_layers(names),
        "parameters": sum(t.numel() for t in distinct),
        "bytes": sum(t.numel() * t.element_size() for t in distinct),
    }
