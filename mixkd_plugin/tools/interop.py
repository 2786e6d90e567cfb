"""Libraries of the extra `interop`, which training never needs."""

import importlib
import sys
from types import ModuleType


def library(name: str) -> ModuleType:
    """Import a library of the extra.

    Raises:
        ValueError: saying what to install, or why what is there cannot be imported.
    """
    if name == "transformers":
        _hide_broken_torchaudio()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"this needs {name.split('.')[0]} ({error}): pip install 'mixkd_plugin[interop]'"
        ) from error


def _hide_broken_torchaudio() -> None:
    """fairseq-fixed asks for torchaudio, whose newest build need not fit torch.

    transformers imports it where it is installed, and fails with it.
    """
    try:
        importlib.import_module("torchaudio")
    except Exception:  # of which there are several: it cannot be used, in any case
        sys.modules["torchaudio"] = None
