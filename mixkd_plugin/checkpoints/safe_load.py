"""Reads checkpoints of fairseq without running code, and checks that they are complete."""

from __future__ import annotations

import argparse
import collections
import os
import typing
import zipfile
from typing import Any, BinaryIO

import numpy as np
import omegaconf
import torch
from fairseq.distributed import utils as distributed_utils

from ..fingerprints import check_regular
from .pickle_scan import UnsafePickleError, scan


class _NumberType:
    """A pickled numpy type; numpy's own are shared, and a pickle could change them."""

    def __init__(self, kind: Any = None, align: Any = False, copy: Any = False):
        if kind not in ("f2", "f4", "f8", "i4", "i8"):
            raise ValueError("it holds a numpy scalar that is no number")
        self._kind, self._order = kind, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "="):
            raise ValueError("it holds a numpy scalar of an unknown byte order")
        self._order = order

    def number(self, data: bytes) -> int | float:
        return np.frombuffer(data, dtype=self._order + self._kind)[0].item()


def _number(kind: _NumberType, data: bytes) -> int | float:
    """A pickled numpy scalar, as a plain one: so fairseq keeps a best F1 or MCC."""
    if not isinstance(kind, _NumberType):
        raise ValueError("it holds a numpy scalar without its type")
    return kind.number(data)


class _OldMeter:
    """Averages of training in checkpoints of 2019; they are not used."""

    def __setstate__(self, state: Any) -> None:
        pass


# Types in fairseq's checkpoints besides tensors and plain values, by the name in the file.
SAFE_GLOBALS = {
    "argparse.Namespace": argparse.Namespace,  # the model's arguments
    "numpy.core.multiarray.scalar": _number,  # a best validation score
    "numpy._core.multiarray.scalar": _number,
    "numpy.dtype": _NumberType,
    # When several processes resume, the first one sends all it read to the others.
    "omegaconf.dictconfig.DictConfig": omegaconf.DictConfig,
    "omegaconf.listconfig.ListConfig": omegaconf.ListConfig,
    "omegaconf.base.ContainerMetadata": omegaconf.base.ContainerMetadata,
    "omegaconf.base.Metadata": omegaconf.base.Metadata,
    "omegaconf.nodes.AnyNode": omegaconf.AnyNode,
    "typing.Any": typing.Any,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.int": int,
    "collections.defaultdict": collections.defaultdict,
    "fairseq.distributed.utils._TensorPlaceholder": distributed_utils._TensorPlaceholder,
    **{
        f"fairseq.{module}.{name}": _OldMeter
        for module in ("meters", "logging.meters")
        for name in ("AverageMeter", "TimeMeter", "StopwatchMeter", "SumMeter")
    },
}

_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
# The names of torch's weights-only loading that tensors of a checkpoint need.
_TENSOR_GLOBALS = {
    "collections.OrderedDict",
    "torch.Size",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",  # a tensor with attributes, as fairscale's FSDP makes
    "torch.Tensor",
    "builtins.set",
    "_codecs.encode",
    *(f"torch.{name}Storage" for name in _STORAGES),
}
ALLOWED = _TENSOR_GLOBALS | set(SAFE_GLOBALS)
FOLDER = "; a Hugging Face model is named by its folder"
_LEGACY_PICKLES = 5  # magic number, version, system, content, keys of the tensors that follow


class DamagedError(ValueError):
    """A file is damaged, or no checkpoint."""


class _NotACheckpoint(Exception):
    """Why a file is not a checkpoint; the message follows its path."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """Load a checkpoint to the CPU without running code, and compare all checksums.

    Only files of before torch 1.6 (2020) have no checksums.

    Raises:
        DamagedError: one sentence with the path in it, where the file is damaged or something else
        ValueError: likewise, where it is missing, malicious, or cannot be read
    """
    check_regular(path)
    try:
        with open(path, "rb") as file:
            return _checked(load_pickled(path, file))
    except UnsafePickleError as error:
        raise ValueError(f"{path} {error}") from error
    except (OSError, MemoryError) as error:
        raise ValueError(f"{path} cannot be read ({error!r})") from error
    except _NotACheckpoint as error:
        raise DamagedError(f"{path} {error}") from error
    except Exception as error:  # a damaged or hostile file can make the reader fail in any way
        raise DamagedError(
            f"{path} is damaged, or not a fairseq checkpoint ({type(error).__name__}: "
            f"{_in_short(error)})"
        ) from error


def _in_short(error: Exception) -> str:
    reason = str(error).split("WeightsUnpickler error: ")[-1].strip().split("\n")[0][:160]
    return reason if reason.isprintable() else ascii(reason)


def check_is_checkpoint(path: str) -> None:
    """Raise ValueError unless a file begins as a checkpoint does, however large it is."""
    check_regular(path)
    try:
        with open(path, "rb") as file:
            _is_zip(file)
    except (OSError, _NotACheckpoint) as error:
        reason = error if isinstance(error, _NotACheckpoint) else f"cannot be read: {error}"
        raise ValueError(f"{path} {reason}") from error


def _is_zip(file: BinaryIO) -> bool:
    start = file.read(4)
    file.seek(0)
    if not start:
        raise _NotACheckpoint("is empty")
    if start != b"PK\x03\x04" and start[:1] != b"\x80":
        raise _NotACheckpoint(
            f"is damaged, or not a fairseq checkpoint: it does not begin as one{FOLDER}"
        )
    return start == b"PK\x03\x04"


def load_pickled(path: str, file: BinaryIO) -> Any:
    """The content of torch.save, with only tensors and plain values.

    Raises:
        Exception: of any kind, if it is damaged or has other objects.
    """
    zipped = _is_zip(file)
    if zipped:
        scan(_checked_pickle(path, file), ALLOWED)
    else:
        for _ in range(_LEGACY_PICKLES):
            scan(file, ALLOWED)
        file.seek(0)
    # mapped, an optimizer's state, twice as large as the model, stays on the disk
    source = path if zipped else file
    return torch.load(source, map_location="cpu", weights_only=True, mmap=zipped)


def _checked_pickle(path: str, file: BinaryIO) -> bytes:
    """The pickle of a zip file, found as torch does, after a comparison of all checksums.

    torch does not compare them, and would load damaged weights. Parts must be uncompressed, so that
    a small file cannot become a large one.
    """
    reader = torch._C.PyTorchFileReader(path)
    records = reader.get_all_records()
    if "constants.pkl" in records:
        raise _NotACheckpoint("is refused: it is a TorchScript program, not a checkpoint")
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        if sorted(part.filename.partition("/")[2] for part in parts) != sorted(records):
            raise _NotACheckpoint("is damaged, or not a fairseq checkpoint: its directory is wrong")
        if sum(part.file_size for part in parts) > os.path.getsize(path):
            raise _NotACheckpoint("is refused: its parts are larger than the file")
        packed = [p.filename for p in parts if p.compress_type != zipfile.ZIP_STORED]
        damaged = packed[0] if packed else archive.testzip()
        if damaged is not None:
            raise _NotACheckpoint(f"is damaged: {damaged!r} in it does not have its checksum")
    return reader.get_record("data.pkl")


def _checked(state: Any) -> dict[str, Any]:
    if not isinstance(state, dict):
        reason = f"it holds a {type(state).__name__}, not a dict"
    elif not isinstance(state.get("model"), dict):
        found = ", ".join(name[:40] for name in list(state)[:5] if isinstance(name, str))
        reason = f"it has no 'model', only {found or 'nothing'}{FOLDER}"
    elif state.get("args") is None and state.get("cfg") is None:
        reason = "it has neither 'args' nor 'cfg', the model's configuration"
    else:
        # Published without the training state, or written before it had this name.
        history = state.setdefault("optimizer_history", [{}])
        kinds = {
            "task_state": dict,
            "extra_state": dict,
            "cfg": (dict, omegaconf.DictConfig, type(None)),
        }
        wrong = [name for name, kind in kinds.items() if not isinstance(state.get(name, {}), kind)]
        if not (isinstance(history, list) and history and isinstance(history[-1], dict)):
            wrong.append("optimizer_history")
        if not wrong:
            return state
        reason = f"its {wrong[0]} is a {type(state[wrong[0]]).__name__}"
    raise _NotACheckpoint(f"is not a fairseq checkpoint: {reason}")
