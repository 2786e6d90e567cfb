"""The one file for what differs between versions of torch, fairseq and Python.

Importing it checks that fairseq works, and supplies what an installed fairseq may lack:
`data_utils_fast` where it was not compiled, and `metrics.log_concat_tensor` in 0.12.2. It also
mends what would make an interrupted run lose a checkpoint or meters, in every fairseq.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import time
from typing import Any, Callable

import torch


def _require_fairseq() -> None:
    """Raise ImportError, one sentence that says what to install, unless fairseq can be imported."""
    wanted = "fairseq-fixed" if sys.version_info >= (3, 11) else "fairseq==0.12.2"
    try:
        import fairseq.checkpoint_utils  # noqa: F401
    except (ImportError, ValueError) as error:  # ValueError: official fairseq on Python >= 3.11
        raise ImportError(
            f"mixkd_plugin needs fairseq, which Python {sys.version_info[0]}."
            f"{sys.version_info[1]} cannot import here ({error}): run `pip install {wanted}`."
        ) from error


_require_fairseq()

from fairseq import checkpoint_utils  # noqa: E402  (after the check)
from fairseq.file_io import PathManager  # noqa: E402
from fairseq.logging import meters, metrics  # noqa: E402

TORCH_VERSION = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))


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


# -- Interruption ----------------------------------------------------------------------------------

PAUSES = (2.5, 2.5)  # seconds between attempts to write a checkpoint, as fairseq's
_save, _load = checkpoint_utils.torch_persistent_save, checkpoint_utils.load_checkpoint
_copy, _load_meters = PathManager.copy, metrics.load_state_dict


class _Writer:
    """A file for `torch.save`, of which the first write that fails is kept as `error`.

    Raised in the middle, it aborts the process (torch 1.13) or is hidden by another one.
    """

    def __init__(self, file: Any):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """When the file is closed."""


def _write_whole(path: str, write: Callable[[str], Any]) -> Any:
    """What `write` returns, called with the name of a file that is moved to `path` when complete.

    Raises OSError, one sentence, and leaves whatever was at `path` before.
    """
    unfinished = path + ".tmp"
    try:
        result = write(unfinished)
        os.replace(unfinished, path)
    except Exception as error:
        with contextlib.suppress(OSError):
            os.remove(unfinished)
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"checkpoint {path} could not be written ({reason}): what was saved before is as it "
            "was; once there is room, the same command resumes from it"
        ) from error
    return result


def save_whole(obj: Any, filename: str, async_write: bool = False) -> None:
    """`checkpoint_utils.torch_persistent_save`, each of whose three attempts has a new file.

    fairseq's append to what a failed one left, and such a file cannot be read; where all fail, the
    last one's stays.
    """
    if async_write or not PathManager.supports_rename(filename):
        return _save(obj, filename, async_write)

    def write(unfinished: str) -> None:
        for pause in (*PAUSES, None):
            try:
                with PathManager.open(unfinished, "wb") as file:
                    writer = _Writer(file)
                    torch.save(obj, writer)
                    if writer.error is not None:
                        raise writer.error
                return
            except Exception:
                if pause is None:
                    raise
                time.sleep(pause)

    return _write_whole(filename, write)


def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
    """`PathManager.copy`, which overwrites with a complete file or not at all."""
    if not overwrite or not PathManager.supports_rename(dst_path):
        return _copy(src_path, dst_path, overwrite=overwrite)
    return _write_whole(dst_path, lambda unfinished: _copy(src_path, unfinished, overwrite=True))


def load_meters(state_dict: dict[str, Any]) -> None:
    """`metrics.load_state_dict`, after which the loaded "default" meters are those that count on.

    fairseq's leaves those of before active: a resumed run would save the loaded ones unchanged.
    """
    _load_meters(state_dict)
    metrics._active_aggregators["default"] = metrics._aggregators["default"]


def load_and_end_epoch(cfg: Any, trainer: Any, **passthrough_args: Any) -> tuple[Any, Any]:
    """`checkpoint_utils.load_checkpoint`, which tells the schedule how an epoch's validation went.

    fairseq saves at the end of an epoch and tells it afterwards, so that a run that resumes from
    there never does: --lr-scheduler reduce_lr_on_plateau would not see that epoch.
    """
    extra_state, epoch_itr = _load(cfg, trainer, **passthrough_args)
    schedule_was_loaded = trainer.get_num_updates() > 0 and not cfg.reset_lr_scheduler
    if extra_state is not None and schedule_was_loaded and not cfg.reset_dataloader:
        position = extra_state["train_iterator"]
        if position.get("iterations_in_epoch") == 0:
            trainer.lr_step(position["epoch"] - 1, extra_state.get("val_loss"))
    return extra_state, epoch_itr


def survive_interruption() -> None:
    """Put the four above in place of fairseq's."""
    checkpoint_utils.torch_persistent_save = save_whole
    checkpoint_utils.load_checkpoint = load_and_end_epoch
    PathManager.copy = staticmethod(copy_whole)
    metrics.load_state_dict = load_meters


supply_batcher()
supply_log_concat_tensor()
survive_interruption()
