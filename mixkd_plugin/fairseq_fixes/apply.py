"""The one file that changes anything inside fairseq.

Importing it checks that fairseq works, supplies `data_utils_fast` where it was not compiled, and
makes the few replacements that this package needs. What concerns one run acts on our own tasks'
alone; the rest does what fairseq cannot do at all. Imported again, it replaces nothing twice.
"""

from __future__ import annotations

import functools
import importlib.util
import platform
import re
import sys

import torch

TORCH_VERSION = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))


def _require_fairseq() -> None:
    """Raise ImportError, one sentence that says what to install, where something is too old."""
    if sys.version_info < (3, 11):
        raise ImportError(f"mixkd_plugin needs Python >= 3.11, got {platform.python_version()}.")
    if TORCH_VERSION < (2, 6):
        raise ImportError(
            f"mixkd_plugin needs torch >= 2.6, got {torch.__version__}: run `pip install -U torch`."
        )
    try:
        import fairseq.checkpoint_utils  # noqa: F401
    except (ImportError, ValueError) as error:  # ValueError: official fairseq
        raise ImportError(
            f"mixkd_plugin needs fairseq, which Python {sys.version_info[0]}."
            f"{sys.version_info[1]} cannot import here ({error}): run `pip install fairseq-fixed`."
        ) from error


_require_fairseq()

from fairseq import checkpoint_utils  # noqa: E402  (after the check)
from fairseq.distributed import utils as distributed_utils  # noqa: E402
from fairseq.models import distributed_fairseq_model  # noqa: E402

from .. import distributed  # noqa: E402
from . import atomic_save, launch, resume  # noqa: E402


def supply_batcher() -> None:
    """Register ours as `fairseq.data.data_utils_fast` where there is no compiled one."""
    name = "fairseq.data.data_utils_fast"
    if importlib.util.find_spec(name) is None:
        from . import data_utils_fast

        sys.modules[name] = data_utils_fast


def ddp_without_device_ids(data_parallel, module, **options):
    """torch's DistributedDataParallel without the device that fairseq names on a CPU as well."""
    if next(module.parameters()).device.type == "cpu":
        options.update(device_ids=None, output_device=None)
    return data_parallel(module=module, **options)


def _replace(owner, name: str, by) -> None:
    """Put ``by(original, ...)`` in the place of a function or class of fairseq, once."""
    original = getattr(owner, name)
    if not hasattr(original, "replaced_by_mixkd"):
        replacement = functools.partial(by, original)
        replacement.replaced_by_mixkd = True
        setattr(owner, name, replacement)


supply_batcher()
_replace(distributed_fairseq_model, "DistributedDataParallel", ddp_without_device_ids)
_replace(distributed_utils, "call_main", launch.call_main)
_replace(distributed_utils, "distributed_init", launch.distributed_init)
_replace(distributed_utils, "all_gather_list", distributed.gather_list)
_replace(checkpoint_utils, "save_checkpoint", atomic_save.save_checkpoint)
_replace(checkpoint_utils, "load_checkpoint", resume.load_checkpoint)
