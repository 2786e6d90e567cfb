"""A narrower student's weights from a wider model, by principal components of its embeddings.

The student's hidden state is P^T x for the wider model's x, P with orthonormal columns: the best
ones for the sum of a random token, position and type. One is the mean over the width, which
LayerNorm removes from both. Each weight is projected where it reads or writes hidden states. Inside
of attention, feed-forward and head the strongest parts stay. The student equals the wider model if
x stays in the span of P, the gains of a LayerNorm are equal, and what is left out is 0.
"""

from argparse import Namespace
from typing import Dict, Sequence, Tuple

import torch
from torch import Tensor

from ..modules.token_types import TABLE

ENCODER = "encoder.sentence_encoder."
SIZES = ("encoder_attention_heads",)  # settings that may differ, besides the sizes of layers
Weights = Dict[str, Tensor]


def check_narrow(theirs: Namespace, ours: Namespace, path: str) -> None:
    """Raise ValueError, with the flag, unless a student of ``ours`` can begin from ``theirs``."""
    for name in ("encoder_learned_pos", "no_scale_embedding"):
        if not getattr(theirs, name):
            raise ValueError(f"it must have --{name.replace('_', '-')} for a narrower student")
    width, size = ours.encoder_embed_dim, theirs.encoder_embed_dim // theirs.encoder_attention_heads
    for name, least in (
        ("encoder_attention_heads", -(-width // size)),
        ("encoder_ffn_embed_dim", 1),
    ):
        most, got = getattr(theirs, name), getattr(ours, name)
        if not least <= got <= most:
            raise ValueError(
                f"--{name.replace('_', '-')} must be {least} to {most} for a student of width "
                f"{width} that begins from --student-init-path {path}, got {got}"
            )


def narrow(
    state: Weights, heads: Sequence[str], theirs: Namespace, ours: Namespace, padding: int
) -> Tuple[Weights, float]:
    """The weights of a student of ``ours``, and the share of the embeddings that they keep.

    Args:
        state: of ``theirs``, with the student's symbols and layers; all numbers are finite
        heads: the classification heads to take
        padding: index of its symbol, up to which positions are not used

    Raises:
        KeyError: for a weight that is missing.
        RuntimeError: from torch, for weights whose shapes do not fit each other.
    """
    state = {name: value.double() for name, value in state.items()}
    tables = [state[ENCODER + "embed_tokens.weight"]]
    tables += [value for name, value in state.items() if name.endswith(TABLE)]
    if not theirs.no_token_positional_embeddings:
        tables.append(state[ENCODER + "embed_positions.weight"][padding + 1 :])
    basis, share = principal_components(tables, ours.encoder_embed_dim)
    width, narrower = basis.shape
    # a normalised state has a mean square of 1 in either width
    gains = (share * width / narrower) ** 0.5 * basis.square().T

    new = {}
    for layer in range(ours.encoder_layers):
        prefix = f"{ENCODER}layers.{layer}."
        new.update(_attention(state, prefix + "self_attn.", basis, theirs, ours))
        new.update(
            _units(state, prefix + "fc1.", prefix + "fc2.", basis, ours.encoder_ffn_embed_dim)
        )
        for name in ("fc2.weight", "fc2.bias"):
            new[prefix + name] = basis.T @ new[prefix + name]
    for head in heads:
        prefix = f"classification_heads.{head}."
        new.update(_units(state, prefix + "dense.", prefix + "out_proj.", basis, narrower))
    for name in state.keys() - new.keys():
        value = state[name]
        if name.endswith(("norm.weight", "layernorm_embedding.weight")):
            new[name] = gains @ value
        elif name.startswith("encoder.") and value.size(-1) == width:
            new[name] = value @ basis  # bias of a LayerNorm, table, language-model head
            if name.endswith("lm_head.dense.weight"):
                new[name] = basis.T @ new[name]
    return new, share


def principal_components(tables: Sequence[Tensor], number: int) -> Tuple[Tensor, float]:
    """An orthonormal basis (D, number) for a sum of random rows, one of each table (rows, D).

    The mean over D is kept: ones are the basis times ones, but for a factor. In what is left, the
    basis has the largest mean square, whose share of all the mean square is returned.
    """
    width = tables[0].size(1)
    outer, inner = _reflection(width), _reflection(number)
    moment, mean = torch.zeros_like(outer), outer.new_zeros(width)
    for table in tables:
        moment += torch.cov(table.T, correction=0)
        mean += table.mean(dim=0)
    moment = (outer @ (moment + torch.outer(mean, mean)) @ outer)[1:, 1:]
    squares, vectors = torch.linalg.eigh(moment)
    vectors = vectors.flip(1)[:, : number - 1]  # the largest first
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    vectors = vectors * vectors.gather(0, largest).sign()
    share = squares.flip(0)[: number - 1].sum() / squares.sum()
    return outer @ torch.block_diag(outer.new_ones(1, 1), vectors) @ inner, share.item()


def _reflection(size: int) -> Tensor:
    """Symmetric and orthogonal, (size, size); its first column has equal numbers."""
    normal = torch.full((size,), -(size**-0.5), dtype=torch.float64)
    normal[0] += 1
    return torch.eye(size, dtype=torch.float64) - 2 * torch.outer(normal, normal) / normal.dot(
        normal
    )


def _attention(
    state: Weights, prefix: str, basis: Tensor, theirs: Namespace, ours: Namespace
) -> Weights:
    """The heads that write most, in their order; smaller ones by the best products of low rank."""
    count, size = theirs.encoder_attention_heads, basis.size(0) // theirs.encoder_attention_heads
    narrower = basis.size(1) // ours.encoder_attention_heads

    def reads(name: str) -> Tensor:  # (heads, size, d + 1), with the bias
        weight, bias = (state[f"{prefix}{name}_proj.{kind}"] for kind in ("weight", "bias"))
        return torch.cat([weight @ basis, bias[:, None]], dim=1).view(count, size, -1)

    query, key, value = map(reads, "qkv")
    writes = (state[prefix + "out_proj.weight"].T @ basis).view(count, size, -1)
    strength = ((writes @ writes.mT) * (value @ value.mT)).sum(dim=(1, 2))
    kept = _largest(strength, ours.encoder_attention_heads)
    query, key = _low_rank(query[kept], key[kept], narrower)
    value, writes = _low_rank(value[kept], writes[kept], narrower)
    scale = (narrower / size) ** 0.25  # a product is divided by the root of a head's size
    new = {
        prefix + "out_proj.weight": writes.flatten(0, 1).T,
        prefix + "out_proj.bias": state[prefix + "out_proj.bias"] @ basis,
    }
    for name, part in (("q", query * scale), ("k", key * scale), ("v", value)):
        part = part.flatten(0, 1)
        new[f"{prefix}{name}_proj.weight"] = part[:, :-1]
        new[f"{prefix}{name}_proj.bias"] = part[:, -1]
    return new


def _low_rank(a: Tensor, b: Tensor, rank: int) -> Tuple[Tensor, Tensor]:
    """Of (heads, size, m) and (heads, size, n): with ``rank`` rows, the nearest a^T b."""
    if rank == a.size(1):
        return a, b
    (a, left), (b, right) = torch.linalg.qr(a.mT), torch.linalg.qr(b.mT)
    u, values, v = torch.linalg.svd(left @ right.mT)
    root = values[:, None, :rank].sqrt()
    return (a @ u[..., :rank] * root).mT, (b @ v.mT[..., :rank] * root).mT


def _units(state: Weights, reads: str, writes: str, basis: Tensor, count: int) -> Weights:
    """The hidden units with the largest product of weights, in their order."""
    weight, after = state[reads + "weight"] @ basis, state[writes + "weight"]
    kept = _largest(weight.norm(dim=1) * after.norm(dim=0), count)
    return {
        reads + "weight": weight[kept],
        reads + "bias": state[reads + "bias"][kept],
        writes + "weight": after[:, kept],
        writes + "bias": state[writes + "bias"],
    }


def _largest(values: Tensor, count: int) -> Tensor:
    return values.argsort(descending=True, stable=True)[:count].sort().values
