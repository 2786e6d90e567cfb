"""Installs the fixes: the only file that sets attributes of fairseq or torch.

README.md lists all fixes. Importing this module again replaces nothing twice.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import sys
from typing import Any, Callable

import torch

from .import_error import check_versions

check_versions()

from fairseq import checkpoint_utils  # noqa: E402  (after the check)
from fairseq.distributed import utils as distributed_utils  # noqa: E402
from fairseq.file_io import PathManager  # noqa: E402
from fairseq.models import distributed_fairseq_model  # noqa: E402
from fairseq.trainer import Trainer  # noqa: E402

from . import (  # noqa: E402
    all_gather_any_size,
    atomic_save,
    ddp_on_cpu,
    half_precision_state,
    launch,
    loader_thread,
    rendezvous,
    resume,
    safe_globals,
)


def supply_batcher() -> None:
    """Register ours as `fairseq.data.data_utils_fast` where there is no compiled one."""
    name = "fairseq.data.data_utils_fast"
    if importlib.util.find_spec(name) is None:
        from . import data_utils_fast

        sys.modules[name] = data_utils_fast


def _replace(owner: Any, name: str, by: Callable) -> None:
    """Make ``owner.name(...)`` call ``by(original, ...)``, once."""
    original = getattr(owner, name)
    if hasattr(original, "replaced_by_mixkd"):
        return

    def replacement(*args, **kwargs):
        return by(original, *args, **kwargs)

    functools.update_wrapper(replacement, original, updated=())
    replacement.replaced_by_mixkd = True
    setattr(owner, name, replacement)


def _replace_for_our_tasks(owner: Any, name: str, by: Callable, trainer: int) -> None:
    """As :func:`_replace`, where the task of the trainer is ours; ``trainer``: which argument."""

    def choose(original, *args, **kwargs):
        if isinstance(args[trainer].task, resume.ResumableTask):
            return by(original, *args, **kwargs)
        return original(*args, **kwargs)

    _replace(owner, name, choose)


supply_batcher()
atexit.register(loader_thread.end_consumers)
torch.serialization.add_safe_globals(safe_globals.FAIRSEQ_GLOBALS)
_replace(distributed_fairseq_model, "DistributedDataParallel", ddp_on_cpu.without_device_ids)
_replace(distributed_utils, "all_gather_list", all_gather_any_size.all_gather_list)
_replace(distributed_utils, "call_main", launch.call_main)
_replace(distributed_utils, "distributed_init", rendezvous.distributed_init)
_replace(checkpoint_utils, "torch_persistent_save", atomic_save.torch_persistent_save)
_replace(PathManager, "copy", atomic_save.copy)
_replace_for_our_tasks(checkpoint_utils, "save_checkpoint", atomic_save.save_checkpoint, 1)
_replace_for_our_tasks(checkpoint_utils, "load_checkpoint", resume.load_checkpoint, 1)
_replace_for_our_tasks(Trainer, "load_checkpoint", resume.load_named_checkpoint, 0)
_replace_for_our_tasks(Trainer, "_build_optimizer", half_precision_state.build_optimizer, 0)
