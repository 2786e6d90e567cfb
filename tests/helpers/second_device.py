"""A second device on a machine without one: real numbers, and torch's rules about where they lie.

Its tensors compute on the CPU and say that they are on ``second``. What a real one refuses is
refused: an operation of tensors of both. What makes a real one wait is noted: a value or a shape
that the host must know before it can go on.

Import it in a process of its own: a device cannot be taken back.
"""

import contextlib
import itertools
import traceback
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nested._internal import sdpa
from torch.nn.attention import SDPBackend
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import mixkd_plugin

DEVICE = "second"


class Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend(DEVICE, backend_module=Backend())

PACKAGE = Path(mixkd_plugin.__file__).parent
aten = torch.ops.aten
SHAPES_FROM_VALUES = (
    aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.unique_consecutive,
    aten.repeat_interleave, aten.bincount, aten.equal, aten._local_scalar_dense, aten.is_nonzero,
)  # fmt: skip
HOST_ALLOWED = (aten.copy_, aten._nested_view_from_jagged)


class OnDevice(torch.Tensor):
    """A tensor of the second device; ``inner`` has its numbers."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=f"{DEVICE}:0", requires_grad=inner.requires_grad,
        )  # fmt: skip

    def __init__(self, inner):
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl
    is_cuda = True  # for code that asks: it takes the way that it takes on a GPU

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if not KNOWN.issuperset(types):
            return NotImplemented  # a nested tensor of ours: it has a dispatch of its own
        return dispatch(function, args, kwargs or {})

    def tolist(self):
        _note("tolist")
        return self.inner.tolist()

    def __repr__(self):
        return f"OnDevice({self.inner!r})"


KNOWN = {torch.Tensor, torch.nn.Parameter, OnDevice}
waits = []  # (operation, place in mixkd_plugin that asked for it) of what makes the host wait


def _note(operation: str) -> None:
    frames = [f for f in traceback.extract_stack() if Path(f.filename).is_relative_to(PACKAGE)]
    place = f"{Path(frames[-1].filename).stem}.{frames[-1].name}" if frames else "elsewhere"
    waits.append((operation, place))


def dispatch(function, args, kwargs):
    flat, spec = tree_flatten((args, kwargs))
    ours = [x for x in flat if isinstance(x, OnDevice)]
    hosts = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, OnDevice)]
    device = kwargs.get("device")
    to_device = device is not None and torch.device(device).type == DEVICE
    to_host = device is not None and not to_device
    packet = function.overloadpacket
    if ours and any(x.dim() for x in hosts) and packet not in HOST_ALLOWED:
        shapes = [tuple(x.shape) for x in hosts]
        raise RuntimeError(f"{function}: expected all tensors on {DEVICE}, got cpu {shapes}")
    if packet is aten.copy_ and len(ours) == len(hosts) == 1:  # to the host or from it
        _note(packet.__name__)
    by_mask = packet in (aten.index, aten.index_put_) and any(
        isinstance(i, OnDevice) and i.dtype == torch.bool for i in args[1] if i is not None
    )
    if ours and (packet in SHAPES_FROM_VALUES or to_host or by_mask):
        _note(packet.__name__)
    if packet is aten._to_copy and hosts and to_device:
        _note(packet.__name__)
    flat = [x.inner if isinstance(x, OnDevice) else x for x in flat]
    inner_args, inner_kwargs = tree_unflatten(flat, spec)
    if to_device:
        inner_kwargs["device"] = "cpu"
    with contextlib.suppress(KeyError):
        inner_kwargs.pop("pin_memory")
    result = function(*inner_args, **inner_kwargs)
    if function._schema.is_mutable and not isinstance(result, (tuple, list)):
        return args[0] if args else kwargs["out"]
    if to_host or not (ours or to_device):
        return result

    def there(x):
        return OnDevice(x) if isinstance(x, torch.Tensor) and not x.is_nested else x

    return tree_map(there, result)


LIBRARY = torch.library.Library("aten", "IMPL")


@torch.library.impl(LIBRARY, "empty_strided", "PrivateUse1")
def empty_strided(size, stride, **options):
    """What torch's own C++ makes there: a list as an index, say."""
    return OnDevice(torch.empty_strided(size, stride, **{**options, "device": "cpu"}))


@torch.library.impl(LIBRARY, "_copy_from", "PrivateUse1")
def copy_from(source, target, non_blocking=False):
    return dispatch(aten.copy_.default, (target, source), {})


def _attention_kernel(query, key, value, _, query_starts, key_starts, *arguments, scale=None):
    """In place of a GPU's kernel for jagged tensors (1, N, H, K), which no CPU has: row by row."""
    dropout = arguments[2]  # after the longest row of each
    q_starts, k_starts = query_starts.inner.tolist(), key_starts.inner.tolist()
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    rows = [
        F.scaled_dot_product_attention(
            q[:, :, q0:q1], k[:, :, k0:k1], v[:, :, k0:k1], dropout_p=dropout, scale=scale
        )
        for (q0, q1), (k0, k1) in zip(itertools.pairwise(q_starts), itertools.pairwise(k_starts))
    ]
    return torch.cat(rows, dim=2).transpose(1, 2), *[None] * 5


sdpa._select_sdp_backend = lambda *_: SDPBackend.EFFICIENT_ATTENTION
aten._efficient_attention_forward = _attention_kernel


class SecondDevice(TorchDispatchMode):
    """In its context the device is there, for factories such as ``torch.zeros`` too."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not KNOWN.issuperset(types):
            return function(*args, **(kwargs or {}))
        return dispatch(function, args, kwargs or {})


def move(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its parameters and buffers on the device, in place; shared ones stay so."""
    moved = {}

    def onto(tensor):
        if id(tensor) not in moved:
            there = OnDevice(tensor.detach())
            if isinstance(tensor, torch.nn.Parameter):
                there = torch.nn.Parameter(there, requires_grad=tensor.requires_grad)
            moved[id(tensor)] = there
        return moved[id(tensor)]

    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is not None:
                    store[name] = onto(tensor)
    return module
