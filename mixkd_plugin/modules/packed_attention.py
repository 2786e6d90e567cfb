"""Self-attention over packed sequences: each token attends to the tokens of its own sequence.

``module`` is fairseq's ``MultiheadAttention``; the caller applies its output projection. Letters in
shape comments: R sequences, N tokens of all sequences, D width, H heads, K = D / H.
"""

from typing import List

import torch
import torch.nn.functional as F
from torch import Tensor

from .dropout import dropout, rate
from .packing import Packing


def attend(module, x: Tensor, packing: Packing, first_only: bool) -> Tensor:
    """Attention output of all tokens of ``x``, (N, D); or of each sequence's first one, (R, D)."""
    if x.is_cuda:  # a launch for each length would be slow on a GPU
        return attend_jagged(module, x, packing, first_only)
    return attend_first(module, x, packing) if first_only else attend_grouped(module, x, packing)


def attend_grouped(module, x: Tensor, packing: Packing) -> Tensor:
    """One dense batch for each length."""
    p = rate(module.dropout_module)
    projected = (module.q_proj(x), module.k_proj(x), module.v_proj(x))
    out = []
    for (rows, length), *qkv in zip(
        packing.groups, *(_by_group(_wide(t), packing) for t in projected)
    ):
        q, k, v = (t.view(rows, length, module.num_heads, -1).transpose(1, 2) for t in qkv)
        if p == 0:
            gathered = F.scaled_dot_product_attention(q, k, v)
        else:  # several times faster than torch's on a CPU with dropout
            weights = torch.matmul(q * module.scaling, k.transpose(2, 3)).softmax(dim=-1)
            gathered = dropout(weights, p) @ v
        out.append(gathered.transpose(1, 2).reshape(rows * length, -1))
    return torch.cat(out).to(x.dtype)


def attend_first(module, x: Tensor, packing: Packing) -> Tensor:
    """Attention of first tokens only, without keys and values.

    With q for a first token, and x and weights a for the tokens of its sequence,
    q . (W_k x + b_k) = (W_k' q) . x + q . b_k,  sum a (W_v x + b_v) = W_v (sum a x) + b_v sum a.
    """
    p, heads = rate(module.dropout_module), module.num_heads
    key, value = (
        w.view(heads, -1, x.size(1)) for w in (module.k_proj.weight, module.v_proj.weight)
    )
    first = x.index_select(0, packing.starts)
    query = (module.q_proj(first) * module.scaling).view(len(first), heads, -1)  # (R, H, K)
    # equal for all tokens, so that softmax ignores it; but DDP requires a gradient of the bias
    offset = (query * module.k_proj.bias.view(heads, -1)).sum(dim=2, keepdim=True)  # (R, H, 1)
    query = torch.matmul(query.transpose(0, 1), key).transpose(0, 1)  # (R, H, D)
    sizes = [rows for rows, _ in packing.groups]
    gathered, totals = [], []
    for (rows, length), tokens, q, b in zip(
        packing.groups,
        _by_group(_wide(x), packing),
        _wide(query).split(sizes),
        _wide(offset).split(sizes),
    ):
        tokens = tokens.view(rows, length, -1)
        weights = (torch.matmul(q, tokens.transpose(1, 2)) + b).softmax(dim=-1)
        weights = dropout(weights, p)  # (rows, H, T)
        gathered.append(torch.matmul(weights, tokens))
        totals.append(weights.sum(dim=2, keepdim=True))
    out = torch.cat(gathered).to(x.dtype).transpose(0, 1)  # (H, R, D)
    out = torch.matmul(out, value.transpose(1, 2)).transpose(0, 1)
    return (out + torch.cat(totals).to(x.dtype) * module.v_proj.bias.view(heads, -1)).flatten(1)


def attend_jagged(module, x: Tensor, packing: Packing, first_only: bool) -> Tensor:
    """All lengths in one kernel (flash or efficient, on a GPU).

    On a GPU fewer launches save more than :func:`attend_first` does.
    """
    offsets = F.pad(packing.starts, (0, 1), value=len(x))
    lengths = packing.groups[0][1], packing.groups[-1][1]

    def jagged(values, offsets, shortest, longest):
        heads = values.view(len(values), module.num_heads, -1)
        nested = torch.nested.nested_tensor_from_jagged(
            heads, offsets, min_seqlen=shortest, max_seqlen=longest
        )
        return nested.transpose(1, 2)

    key, value = (jagged(f(x), offsets, *lengths) for f in (module.k_proj, module.v_proj))
    if first_only:
        first = x.index_select(0, packing.starts)
        each = torch.arange(len(first) + 1, device=x.device)
        query = jagged(module.q_proj(first), each, 1, 1)
    else:
        query = jagged(module.q_proj(x), offsets, *lengths)
    gathered = F.scaled_dot_product_attention(
        query, key, value, dropout_p=rate(module.dropout_module)
    )
    return gathered.transpose(1, 2).values().flatten(1)


def _wide(x: Tensor) -> Tensor:
    """float32 for half precision on a CPU, where torch needs milliseconds for each new shape."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) and not x.is_cuda else x


def _by_group(x: Tensor, packing: Packing) -> List[Tensor]:
    """Split, not sliced: the gradient of a slice is as large as the full tensor."""
    return x.split([rows * length for rows, length in packing.groups])
