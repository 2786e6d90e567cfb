"""The one file for what differs between versions of torch, fairseq and Python.

Importing it checks that fairseq works, supplies what an installed fairseq may lack
(`data_utils_fast` where it was not compiled, `metrics.log_concat_tensor` in 0.12.2), and makes the
few replacements inside fairseq that this package needs.
"""

from __future__ import annotations

import functools
import importlib.util
import platform
import re
import sys
from typing import Any

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
    except (ImportError, ValueError) as error:  # ValueError: official fairseq on Python >= 3.11
        raise ImportError(
            f"mixkd_plugin needs fairseq, which Python {sys.version_info[0]}."
            f"{sys.version_info[1]} cannot import here ({error}): run `pip install fairseq-fixed`."
        ) from error


_require_fairseq()

from fairseq import checkpoint_utils  # noqa: E402  (after the check)
from fairseq.distributed import utils as distributed_utils  # noqa: E402
from fairseq.file_io import PathManager  # noqa: E402
from fairseq.logging import meters, metrics  # noqa: E402
from fairseq.models import distributed_fairseq_model  # noqa: E402

from . import interruption, launch, ranks  # noqa: E402


def supply_batcher() -> None:
    """Register ours as `fairseq.data.data_utils_fast` where there is no compiled one."""
    name = "fairseq.data.data_utils_fast"
    if importlib.util.find_spec(name) is None:
        from . import batching

        sys.modules[name] = batching


class ConcatTensorMeter(meters.Meter):
    """Keeps the tensors it is given as one, `tensor`, joined along `dim`."""

    def __init__(self, dim: int = 0):
        self.dim = dim
        self.reset()

    def reset(self) -> None:
        self.tensor: torch.Tensor | None = None

    def update(self, value: torch.Tensor) -> None:
        earlier = [] if self.tensor is None else [self.tensor]
        self.tensor = torch.cat([*earlier, value], dim=self.dim)

    def state_dict(self) -> dict[str, Any]:
        return {"tensor": self.tensor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tensor = state["tensor"]

    @property
    def smoothed_value(self) -> list:
        return []  # nothing to show: a derived meter shows what it makes of the tensor


def log_concat_tensor(key: str, value: torch.Tensor, priority: int = 10, dim: int = 0) -> None:
    """Log a tensor that derived meters read whole, as `fairseq.logging.metrics` itself does now."""
    for aggregator in metrics.get_active_aggregators():
        if key not in aggregator:
            aggregator.add_meter(key, ConcatTensorMeter(dim=dim), priority)
        aggregator[key].update(value)


def supply_log_concat_tensor() -> None:
    """Add the two above to fairseq's modules where they are missing (0.12.2)."""
    if not hasattr(metrics, "log_concat_tensor"):
        metrics.log_concat_tensor = log_concat_tensor
        meters.ConcatTensorMeter = ConcatTensorMeter  # a resumed run looks meters up by name


def _on_a_cpu_too(data_parallel, module, **options):
    """torch's DistributedDataParallel without the device that fairseq names on a CPU as well."""
    if next(module.parameters()).device.type == "cpu":
        options.update(device_ids=None, output_device=None)
    return data_parallel(module=module, **options)


def _replace(owner, name: str, by) -> None:
    """Put ``by(original, ...)`` in the place of a function or class of fairseq."""
    by = functools.partial(by, getattr(owner, name))
    setattr(owner, name, staticmethod(by) if isinstance(owner, type) else by)


supply_batcher()
supply_log_concat_tensor()
_replace(distributed_fairseq_model, "DistributedDataParallel", _on_a_cpu_too)
_replace(distributed_utils, "call_main", launch.call_main)
_replace(distributed_utils, "distributed_init", launch.distributed_init)
_replace(distributed_utils, "all_gather_list", ranks.gather_list)
_replace(checkpoint_utils, "torch_persistent_save", interruption.save_whole)
_replace(checkpoint_utils, "save_checkpoint", interruption.save_checkpoint)
_replace(checkpoint_utils, "load_checkpoint", interruption.load_checkpoint)
_replace(PathManager, "copy", interruption.copy_whole)
_replace(metrics, "load_state_dict", interruption.load_meters)
