"""Weights of a Hugging Face folder, read without running code."""

import os

from torch import Tensor

from ..interop import library
from ..tokenizers.library import read_json_if_there
from .safe_load import load_pickled

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # of weights in several files


def check_files(folder: str) -> None:
    """Reading a pipe or a device might never end.

    Raises:
        ValueError: for a pipe or a device among the files.
    """
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise ValueError(f"{name} must be a file, got a pipe or a device")


def read_weights(folder: str) -> dict[str, Tensor]:
    """All tensors of the folder, from one file or from several with an index."""
    for name in WEIGHT_FILES:
        if os.path.isfile(os.path.join(folder, name)):
            return _read_file(folder, name)
        index = os.path.join(folder, f"{name}{INDEX}")
        if os.path.isfile(index):
            names = sorted({*read_json_if_there(index)["weight_map"].values()})
            parts = [_read_file(folder, os.path.basename(part)) for part in names]
            return {key: tensor for part in parts for key, tensor in part.items()}
    raise ValueError(f"the folder must have {' or '.join(WEIGHT_FILES)}, got neither")


def _read_file(folder: str, name: str) -> dict[str, Tensor]:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise ValueError(f"the index of the weights names {name}, which does not exist")
    try:
        if name.endswith(".safetensors"):
            return library("safetensors.torch").load_file(path)
        with open(path, "rb") as file:
            tensors = load_pickled(path, file)
        for key, tensor in tensors.items():
            if not isinstance(key, str) or not isinstance(tensor, Tensor):
                raise ValueError("it must have only tensors by name")
        return tensors
    except Exception as error:  # a damaged file can make the readers fail in any way
        reason = str(error).split("\n")[0]
        raise ValueError(f"{name} cannot be read as weights: {reason}") from error
