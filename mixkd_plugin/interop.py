"""Libraries of the extra `interop`; training needs them only for models of transformers."""

import contextlib
import importlib
import logging
import sys
import warnings
from types import ModuleType


def library(name: str) -> ModuleType:
    """Import a library of the extra; ValueError, with the cure, if that fails."""
    if name.partition(".")[0] == "transformers":
        _hide_broken_torchaudio()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"this needs {name.split('.')[0]} ({error}): pip install 'mixkd_plugin[interop]'"
        ) from error


@contextlib.contextmanager
def quiet():
    """Suppress the libraries' warnings, logs, prints and progress bars."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    transformers = sys.modules.get("transformers")
    bars = transformers and transformers.utils.logging
    shown = bars and bars.is_progress_bar_enabled()
    if shown:
        bars.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if shown:
            bars.enable_progress_bar()


def _hide_broken_torchaudio() -> None:
    """fairseq-fixed installs torchaudio, whose newest build may not match torch.

    transformers imports it if it is installed, and fails with it.
    """
    try:
        importlib.import_module("torchaudio")
    except Exception:  # of any kind: it cannot be used
        sys.modules["torchaudio"] = None
