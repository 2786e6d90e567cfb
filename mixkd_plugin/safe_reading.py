"""Checkpoints of fairseq, read without the power to run code, whichever torch it is."""

from __future__ import annotations

import argparse
import collections
import functools
import io
import pickle
import re
import tarfile
import typing
from types import SimpleNamespace
from typing import Any, Callable
from unittest import mock

import numpy as np
import omegaconf
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils

from .compat import TORCH_VERSION

# Before 2.6 weights_only was off by default, and a tar archive got round it (CVE-2025-32434).
_WEIGHTS_ONLY_IS_SAFE = TORCH_VERSION >= (2, 6)


def _float_scalar(dtype: np.dtype, data: bytes) -> float:
    """A pickled numpy float, as a plain one: so fairseq keeps a best F1 or MCC."""
    if dtype.kind != "f" or not isinstance(data, bytes):
        raise pickle.UnpicklingError(f"a numpy scalar of type {dtype}")
    return float(np.frombuffer(data, dtype=dtype)[0])


# What fairseq's checkpoints hold besides tensors and plain values, by the name in the file.
SAFE_GLOBALS = {
    "argparse.Namespace": argparse.Namespace,  # the model's arguments
    "numpy.core.multiarray.scalar": _float_scalar,  # a best validation score
    "numpy._core.multiarray.scalar": _float_scalar,
    "numpy.dtype": np.dtype,
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
}


def allow_fairseq_checkpoints() -> None:
    """Let torch's weights-only loading accept what fairseq's own checkpoints hold."""
    if _WEIGHTS_ONLY_IS_SAFE:
        dtypes = [type(np.dtype("float64")), type(np.dtype("float32"))]  # what np.dtype() makes
        torch.serialization.add_safe_globals([(v, name) for name, v in SAFE_GLOBALS.items()])
        torch.serialization.add_safe_globals(dtypes)


allow_fairseq_checkpoints()


# -- Reading a checkpoint that may be hostile ------------------------------------------------------

_TENSOR_GLOBALS = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch.Size": torch.Size,
    "torch.Tensor": torch.Tensor,
    "torch.device": torch.device,
    "torch.nn.parameter.Parameter": torch.nn.Parameter,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    "builtins.set": set,
}


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as pickle protocol 2 writes them; no other encoding has a place in a checkpoint."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows the names of the allow-lists, and refuses any other before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{'builtins' if module == '__builtin__' else module}.{name}"
        for allowed in (SAFE_GLOBALS, _TENSOR_GLOBALS, {"_codecs.encode": _encode}):
            if full_name in allowed:
                return allowed[full_name]
        if module == "torch":
            value = vars(torch).get(name)
            is_storage = isinstance(value, type) and name.endswith("Storage")
            if is_storage or isinstance(value, torch.dtype):
                return value
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {full_name}")


def _load_restricted(file: io.BufferedIOBase) -> Any:
    """`torch.load` onto the CPU with the allow-lists above, for torch < 2.6.

    torch.load itself will not do: 1.13 ignores its argument `pickle_module`, and runs any pickle.
    """
    module = SimpleNamespace(
        Unpickler=_RestrictedUnpickler,
        load=lambda stream, **options: _RestrictedUnpickler(stream, **options).load(),
    )
    if not torch.serialization._is_zipfile(file):
        return torch.serialization._legacy_load(file, "cpu", module, encoding="utf-8")
    with torch.serialization._open_zipfile_reader(file) as archive:
        return torch.serialization._load(archive, "cpu", module, encoding="utf-8")


class RefusedError(ValueError):
    """A file wants to load what could run code."""


class _NotACheckpoint(Exception):
    """Why a file is not a checkpoint, worded to follow its path."""


def _refuse_other_archives(file: io.BufferedIOBase) -> None:
    """Refuse what torch < 2.6 would read otherwise than by unpickling: TorchScript and tar."""
    if not file.read(1):
        raise _NotACheckpoint("is empty")
    file.seek(0)
    if torch.serialization._is_zipfile(file):
        with torch.serialization._open_zipfile_reader(file) as archive:
            if torch.serialization._is_torchscript_zip(archive):
                raise _NotACheckpoint("is refused: it is a TorchScript program, not a checkpoint")
    else:
        try:
            tarfile.open(fileobj=file, mode="r:").close()
        except tarfile.TarError:
            pass
        else:
            raise _NotACheckpoint("is a tar archive, not a checkpoint")
    file.seek(0)


def _load_safely(torch_load: Callable[..., Any], file: io.BufferedIOBase, **_asked: Any) -> dict:
    """Stands in for `torch.load` while fairseq reads a checkpoint, whatever options it asks for."""
    _refuse_other_archives(file)
    if _WEIGHTS_ONLY_IS_SAFE:
        # mapped, an optimizer's state, twice as large as the model, is not even read
        mapped = torch.serialization._is_zipfile(file)
        source = file.name if mapped else file
        state = torch_load(source, map_location="cpu", weights_only=True, mmap=mapped)
    else:
        state = _load_restricted(file)
    if not isinstance(state, dict):
        reason = f"it holds a {type(state).__name__}, not a dict"
    elif "model" not in state:
        reason = f"it has no 'model', only {', '.join(map(str, list(state)[:5])) or 'nothing'}"
    elif state.get("args") is None and state.get("cfg") is None:
        reason = "it has neither 'args' nor 'cfg', the model's configuration"
    else:
        if "optimizer_history" not in state and "best_loss" not in state:
            # published without what training left behind, which fairseq's loader looks for
            history = {"optimizer_name": None, "lr_scheduler_state": {}, "num_updates": 0}
            state.update(optimizer_history=[history], extra_state=state.get("extra_state", {}))
        return state
    raise _NotACheckpoint(f"is not a fairseq checkpoint: {reason}")


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint on the CPU, read by fairseq's loader, but unable to run code on any torch.

    Raises ValueError, one sentence with the path in it, where the file is missing, damaged,
    malicious (RefusedError) or something else.
    """
    try:
        # fairseq main passes weights_only=False, torch < 2.6 defaults to it: replace the call.
        with mock.patch.object(torch, "load", functools.partial(_load_safely, torch.load)):
            return checkpoint_utils.load_checkpoint_to_cpu(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder, not a checkpoint file") from error
    except _NotACheckpoint as error:
        raise ValueError(f"{path} {error}") from error
    except Exception as error:  # a damaged or hostile file can make the reader fail in any way
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused and isinstance(error, pickle.UnpicklingError):
            raise RefusedError(
                f"{path} is refused: it wants to load {refused.group(1)}, which could run code and "
                "which no fairseq checkpoint needs"
            ) from error
        reason = str(error).split("WeightsUnpickler error: ")[-1].strip().split("\n")[0][:160]
        raise ValueError(
            f"{path} is damaged, or not a fairseq checkpoint ({type(error).__name__}: {reason})"
        ) from error


def read_configured(path: str) -> dict[str, Any]:
    """A checkpoint whose configuration is in ``cfg``, whichever fairseq wrote it."""
    state = read_checkpoint(path)
    cfg = state["cfg"] if state.get("cfg") else convert_namespace_to_omegaconf(state["args"])
    state["cfg"], state["args"] = cfg, None  # fairseq would prefer args, where both are there
    return state
