"""Self-attention over packed rows: each token attends to the tokens of its own row.

Letters in shape comments: R rows, N tokens of all rows, H heads, K width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .compat import TORCH_VERSION
from .packing import Packing

HAS_FUSED = TORCH_VERSION >= (2, 0)
HAS_JAGGED = TORCH_VERSION >= (2, 5)


def attend(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, first_only: bool, p: float
) -> Tensor:
    """Softmax attention with dropout ``p``, by the way that suits the device.

    Args:
        query: (N, H, K), or (R, H, K) where only the first token of each row asks
        key, value: (N, H, K)

    Returns:
        as ``query``
    """
    way = jagged_attention if query.is_cuda and HAS_JAGGED else grouped_attention
    return way(query, key, value, packing, first_only, p)


def grouped_attention(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, first_only: bool, p: float
) -> Tensor:
    """One dense batch for each length of row."""
    # split, not sliced: the gradient of a slice is as large as the whole
    sizes = [rows * length for rows, length in packing.groups]
    query_sizes = [rows for rows, _ in packing.groups] if first_only else sizes
    out = []
    for (rows, _), *qkv in zip(
        packing.groups, query.split(query_sizes), key.split(sizes), value.split(sizes)
    ):
        q, k, v = (t.unflatten(0, (rows, -1)).transpose(1, 2) for t in qkv)  # (rows, H, T, K)
        if p == 0 and HAS_FUSED:
            attended = F.scaled_dot_product_attention(q, k, v)
        else:  # with dropout, several times faster than torch's on a CPU
            weights = torch.matmul(q * q.size(-1) ** -0.5, k.transpose(2, 3)).softmax(dim=-1)
            attended = F.dropout(weights, p) @ v
        out.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(out)


def jagged_attention(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, first_only: bool, p: float
) -> Tensor:
    """All lengths in one kernel (flash or efficient, on a GPU)."""
    n, rows = len(key), len(packing.starts)
    offsets = F.pad(packing.starts, (0, 1), value=n)
    shortest, longest = packing.groups[0][1], packing.groups[-1][1]

    def jagged(values, offsets, shortest, longest):
        nested = torch.nested.nested_tensor_from_jagged(
            values, offsets, min_seqlen=shortest, max_seqlen=longest
        )
        return nested.transpose(1, 2)

    key, value = (jagged(t, offsets, shortest, longest) for t in (key, value))
    if first_only:
        query = jagged(query, torch.arange(rows + 1, device=query.device), 1, 1)
    else:
        query = jagged(query, offsets, shortest, longest)
    attended = F.scaled_dot_product_attention(query, key, value, dropout_p=p)
    return attended.transpose(1, 2).values()
