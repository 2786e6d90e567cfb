"""MixKD, mixup knowledge distillation (Liang et al., ICLR 2021), for fairseq.

Importing registers the task ``mixkd_sentence_prediction``, the criterion ``mixkd`` and the model
``mixkd_roberta``: ``fairseq-train --user-dir mixkd_plugin ...`` does it. A package that imports
this one may be the user directory instead, and add a distance, a pairing rule, a kind of mix or
an encoder.

The commands (``mixkd``, ``python -m mixkd_plugin``) register when their work begins, so that their
help and their refusals of flags wait neither for torch nor for fairseq.
"""

import os
import sys

__all__ = ["Examples", "MixupModel", "register_distance", "register_mixup_kind", "register_pairing"]


def _is_command() -> bool:
    """Whether this process was started as a command of this package; not in what it starts."""
    words, program = sys.orig_argv, sys.argv[0] if sys.argv else ""
    if program == "-m":  # Python's name for a module that it is about to run
        module = words[words.index("-m") + 1] if "-m" in words else ""
        return module == __name__ or module.startswith(f"{__name__}.tools.")
    return program in words and os.path.basename(program) in ("mixkd", "mixkd.exe")


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import plugin

    return getattr(plugin, name)


if not _is_command():
    from .plugin import (
        Examples,
        MixupModel,
        register_distance,
        register_mixup_kind,
        register_pairing,
    )
