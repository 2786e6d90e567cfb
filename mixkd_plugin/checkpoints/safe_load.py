"""Checkpoints of fairseq, read without the power to run code, and whole."""

from __future__ import annotations

import argparse
import collections
import mmap
import typing
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np
import omegaconf
import torch
from fairseq.distributed import utils as distributed_utils

from ..files import check_regular
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
    """What checkpoints of 2019 hold of training's averages: nobody reads it."""

    def __setstate__(self, state: Any) -> None:
        pass


# What fairseq's checkpoints hold besides tensors and plain values, by the name in the file.
SAFE_GLOBALS = {
    "argparse.Namespace": argparse.Namespace,  # the model's arguments
    "numpy.core.multiarray.scalar": _number,  # a best validation score
    "numpy._core.multiarray.scalar": _number,
    "numpy.dtype": _NumberType,
    # When several processes resume, the first one sends the others all it read, config included.
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
# Of what torch's own weights-only loading knows, what tensors of a checkpoint need.
_TENSOR_GLOBALS = {
    "collections.OrderedDict",
    "torch.Size",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "builtins.set",
    "_codecs.encode",
    *(f"torch.{name}Storage" for name in _STORAGES),
}
ALLOWED = _TENSOR_GLOBALS | set(SAFE_GLOBALS)
_LEGACY_PICKLES = 5  # magic number, version, system, content, keys of the tensors that follow


def allow_fairseq_checkpoints() -> None:
    """Let torch's weights-only loading accept what fairseq's own checkpoints hold."""
    torch.serialization.add_safe_globals([(v, name) for name, v in SAFE_GLOBALS.items()])


allow_fairseq_checkpoints()


class RefusedError(ValueError):
    """A file wants to load what could run code, or to take what no checkpoint needs."""


class _NotACheckpoint(Exception):
    """Why a file is not a checkpoint, worded to follow its path."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint on the CPU, unable to run code, all of whose parts have their checksums.

    Only files of before torch 1.6 (2020) have no checksums.

    Raises:
        ValueError: one sentence with the path in it, where the file is missing, damaged, malicious
            (RefusedError) or something else.
    """
    check_regular(path)
    try:
        with open(path, "rb") as file:
            return _checked(load_pickled(path, file))
    except UnsafePickleError as error:
        raise RefusedError(f"{path} {error}") from error
    except _NotACheckpoint as error:
        raise ValueError(f"{path} {error}") from error
    except Exception as error:  # a damaged or hostile file can make the reader fail in any way
        raise ValueError(
            f"{path} is damaged, or not a fairseq checkpoint ({type(error).__name__}: "
            f"{_in_short(error)})"
        ) from error


def _in_short(error: Exception) -> str:
    reason = str(error).split("WeightsUnpickler error: ")[-1].strip().split("\n")[0][:160]
    return reason if reason.isprintable() else ascii(reason)


def check_kind(path: str) -> None:
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
        raise _NotACheckpoint("is damaged, or not a fairseq checkpoint: it does not begin as one")
    return start == b"PK\x03\x04"


def load_pickled(path: str, file: BinaryIO) -> Any:
    """What torch.save wrote, by tensors and plain values alone.

    Raises:
        Exception: of any kind, where it is damaged or would do more.
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
    """The pickle of a zip, as torch finds it, after all parts were compared with their checksums.

    torch does not: it would take damaged weights. The parts are stored as they are, so that a
    small file cannot become a large one.
    """
    reader = torch._C.PyTorchFileReader(path)
    records = reader.get_all_records()
    if "constants.pkl" in records:
        raise _NotACheckpoint("is refused: it is a TorchScript program, not a checkpoint")
    with zipfile.ZipFile(file) as archive:
        parts = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if len(parts) != len(archive.infolist()) or set(parts) != set(records):
            raise _NotACheckpoint("is damaged, or not a fairseq checkpoint: its directory is wrong")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        whole = memoryview(content)
        try:
            if sum(info.file_size for info in parts.values()) > len(whole):
                raise _NotACheckpoint("is refused: its parts are larger than the file")
            for name, info in parts.items():
                start = reader.get_record_offset(name)
                stored = whole[start : start + info.file_size]
                if info.compress_type != zipfile.ZIP_STORED or zlib.crc32(stored) != info.CRC:
                    raise _NotACheckpoint(f"is damaged: {name!r} in it does not have its checksum")
                stored.release()
        finally:
            stored = None
            whole.release()
    return reader.get_record("data.pkl")


def _checked(state: Any) -> dict[str, Any]:
    if not isinstance(state, dict):
        reason = f"it holds a {type(state).__name__}, not a dict"
    elif not isinstance(state.get("model"), dict):
        found = ", ".join(name[:40] for name in list(state)[:5] if isinstance(name, str))
        reason = f"it has no 'model', only {found or 'nothing'}"
    elif state.get("args") is None and state.get("cfg") is None:
        reason = "it has neither 'args' nor 'cfg', the model's configuration"
    else:
        # Published without what training left behind, or written before it was called so.
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
