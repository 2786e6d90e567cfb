"""The files of a Hugging Face folder, and its weights, read without running code."""

import hashlib
import os
from typing import List, Optional

from torch import Tensor

from ..fingerprints import check_regular, digest_of_file
from ..interop import library
from ..tokenizers.library import read_json_if_there
from .safe_load import load_pickled

PREFIX = "hf:"  # of a folder where a checkpoint may stand, too
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # of weights in several files
SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SETTINGS += ("added_tokens.json",)


def folder_of(path: str) -> Optional[str]:
    """The folder of ``hf:FOLDER``; None for the path of a checkpoint."""
    return path[len(PREFIX) :] if path.startswith(PREFIX) else None


def check_files(folder: str) -> None:
    """Raise ValueError for a pipe or a device in a folder: reading it might never end."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise ValueError(f"{name} must be a file, got a pipe or a device")


def files_of(folder: str) -> List[str]:
    """The files of a folder on which its model's logits depend.

    Raises:
        ValueError: without config.json and weights, or if one of them is not a file.
    """
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} must be a folder with config.json, got none")
    there = set(os.listdir(folder))
    names = [name for name in SETTINGS if name in there]
    if "config.json" not in names:
        raise ValueError(f"no config.json in {folder}")
    check_files(folder)
    names += [name + INDEX for name in WEIGHT_FILES if name + INDEX in there]
    paths = [os.path.join(folder, name) for name in [*names, *weight_files(folder)]]
    for path in paths:
        check_regular(path)
    return paths


def digest_of_folder(folder: str) -> str:
    """A digest of the files of :func:`files_of`, by name."""
    digests = {os.path.basename(path): digest_of_file(path) for path in files_of(folder)}
    return hashlib.sha256(str(sorted(digests.items())).encode()).hexdigest()


def weight_files(folder: str) -> List[str]:
    """The names of the files with weights: one, or several with an index."""
    for name in WEIGHT_FILES:
        if os.path.isfile(os.path.join(folder, name)):
            return [name]
        index = os.path.join(folder, f"{name}{INDEX}")
        if os.path.isfile(index):
            parts = read_json_if_there(index).get("weight_map")
            if not isinstance(parts, dict) or not all(isinstance(p, str) for p in parts.values()):
                raise ValueError(f"{name}{INDEX} must name the file of each weight")
            return sorted({os.path.basename(part) for part in parts.values()})
    raise ValueError(f"the folder must have {' or '.join(WEIGHT_FILES)}, got neither")


def read_weights(folder: str) -> dict[str, Tensor]:
    """All tensors of the folder, from one file or from several with an index."""
    parts = [_read_file(folder, name) for name in weight_files(folder)]
    return {key: tensor for part in parts for key, tensor in part.items()}


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
