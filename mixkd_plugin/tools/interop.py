"""Libraries of the extra `interop`, which training never needs."""

import contextlib
import importlib
import logging
import sys
import warnings
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


@contextlib.contextmanager
def quiet():
    """The libraries speak of their insides, at length, in warnings, logs, prints and bars."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    bars = sys.modules.get("transformers")
    if bars is not None:
        bars.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _hide_broken_torchaudio() -> None:
    """fairseq-fixed asks for torchaudio, whose newest build need not fit torch.

    transformers imports it where it is installed, and fails with it.
    """
    try:
        importlib.import_module("torchaudio")
    except Exception:  # of which there are several: it cannot be used, in any case
        sys.modules["torchaudio"] = None
