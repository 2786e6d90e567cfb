"""A narrower student's weights from a wider model, by principal components of its hidden states.

The student's hidden state is P^T x for the wider model's x, P with orthonormal columns. The states
are those of random symbols, so no text is needed, and those of all positions' embeddings. The mean
over the width stays, which LayerNorm removes from both. Each weight is projected where it reads or
writes states. Inside of attention, feed-forward and head the strongest parts stay. The student
equals the wider model if x stays in the span of P, the gains of a LayerNorm are equal, and what is
left out is 0.
"""

from argparse import Namespace
from typing import Dict, Tuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ..modules.packed_encoder import encode_packed
from ..modules.token_types import TABLE
from ..names import as_flag

ENCODER = "encoder.sentence_encoder."
NORMS = ("norm", "layernorm_embedding")  # ends of names
SIZES = ("encoder_attention_heads",)  # settings that may differ, besides the sizes of layers
ROWS, LENGTH = 128, 16  # of random symbols

Weights = Dict[str, Tensor]
Flow = Tuple[Tensor, Tensor]  # what a module read and gave, (N, in) and (N, out)
Flows = Dict[str, Flow]


def check_narrow(theirs: Namespace, ours: Namespace, path: str) -> None:
    """Raise ValueError, with the flag, unless a student of ``ours`` can begin from ``theirs``."""
    for name in ("encoder_learned_pos", "no_scale_embedding"):
        if not getattr(theirs, name):
            raise ValueError(f"it must have {as_flag(name)} for a narrower student")
    width, size = ours.encoder_embed_dim, theirs.encoder_embed_dim // theirs.encoder_attention_heads
    for name, least in (
        ("encoder_attention_heads", -(-width // size)),
        ("encoder_ffn_embed_dim", 1),
    ):
        most, got = getattr(theirs, name), getattr(ours, name)
        if not least <= got <= most:
            raise ValueError(
                f"{as_flag(name)} must be {least} to {most} for a student of width {width} that "
                f"begins from --student-init-path {path}, got {got}"
            )


def narrow(wide, ours: Namespace) -> Tuple[Weights, float]:
    """The weights of a student of ``ours``, and the share of hidden states' squares they keep.

    Args:
        wide: a RoBERTa with the student's symbols, layers and classification heads
    """
    state = {name: value.double() for name, value in wide.state_dict().items()}
    flows = _flows(wide)
    basis, share = principal_components(_moment(wide, flows), ours.encoder_embed_dim)
    new = {name: value @ basis for name, value in state.items() if "embed" in name}
    for name in filter(lambda name: name.endswith(NORMS), flows):
        new.update(_norm(name, flows[name], basis, wide.get_submodule(name).eps))
    for layer in range(ours.encoder_layers):
        prefix = f"{ENCODER}layers.{layer}."
        new.update(_attention(state, flows, prefix + "self_attn.", basis, wide.args, ours))
        inside = prefix + "fc1", prefix + "fc2"
        new.update(_units(state, flows, *inside, basis, ours.encoder_ffn_embed_dim))
        for name in ("fc2.weight", "fc2.bias"):
            new[prefix + name] = basis.T @ new[prefix + name]
    for head in wide.classification_heads:
        inside = (f"classification_heads.{head}.{name}" for name in ("dense", "out_proj"))
        new.update(_units(state, flows, *inside, basis, basis.size(1)))
    lm = "encoder.lm_head."
    new[lm + "dense.weight"] = basis.T @ state[lm + "dense.weight"] @ basis
    for name in ("dense.bias", "weight", "layer_norm.bias"):
        new[lm + name] = state[lm + name] @ basis
    new[lm + "layer_norm.weight"] = state[lm + "layer_norm.weight"] @ basis.square()
    return new, share


@torch.no_grad()
def _flows(wide) -> Flows:
    """Of each LayerNorm, and of the last layer of each part, for texts of random symbols."""
    dictionary, flows = wide.encoder.dictionary, {}
    length = min(LENGTH, wide.encoder.max_positions())
    drawn = torch.Generator().manual_seed(1)
    tokens = torch.randint(dictionary.nspecial, len(dictionary), (ROWS, length), generator=drawn)
    tokens[:, 0], tokens[:, -1] = dictionary.bos(), dictionary.eos()

    def record(name: str, module: nn.Module) -> None:
        def hook(_, read, gave):
            flows[name] = read[0].flatten(0, -2), gave.flatten(0, -2)

        module.register_forward_hook(hook)

    for name, module in wide.named_modules():
        if name.endswith((*NORMS, "fc2", "out_proj")):
            record(name, module)
    features = encode_packed(wide, tokens, None)
    for head in wide.classification_heads.values():
        head(features)
    return flows


def _moment(wide, flows: Flows) -> Tensor:
    """(D, D): second moment of states and of embeddings, each kind with trace 1."""
    encoder = wide.encoder.sentence_encoder
    tables = [encoder.embed_tokens.weight]
    if encoder.embed_positions is not None:
        tables.append(encoder.embed_positions.weight[encoder.padding_idx + 1 :])
    tables += [w for name, w in wide.named_parameters() if name.endswith(TABLE)]
    tables = [_centred(table.detach().double()) for table in tables]
    mean = sum(table.mean(dim=0) for table in tables)
    moments = [sum(torch.cov(t.T, correction=0) for t in tables) + torch.outer(mean, mean)]
    for name, (_, gave) in flows.items():
        if name.endswith(NORMS):
            gave = _centred(gave.double())
            moments.append(gave.T @ gave)
    return sum(moment / moment.trace() for moment in moments)


def _centred(states: Tensor) -> Tensor:
    return states - states.mean(dim=-1, keepdim=True)


def principal_components(moment: Tensor, number: int) -> Tuple[Tensor, float]:
    """An orthonormal basis (D, number) for states of this second moment (D, D).

    The mean over D is kept: ones are the basis times ones, but for a factor. In what is left, the
    basis has the largest mean square, whose share of all the mean square is returned.
    """
    outer, inner = _reflection(len(moment)), _reflection(number)
    squares, vectors = torch.linalg.eigh((outer @ moment @ outer)[1:, 1:])
    vectors = vectors.flip(1)[:, : number - 1]  # the largest first
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    vectors = vectors * vectors.gather(0, largest).sign()
    share = squares.flip(0)[: number - 1].sum() / squares.sum()
    return outer @ torch.block_diag(outer.new_ones(1, 1), vectors) @ inner, share.item()


def _reflection(size: int) -> Tensor:
    """Symmetric and orthogonal, (size, size); its first column has equal numbers."""
    normal = torch.full((size,), -(size**-0.5), dtype=torch.float64)
    normal[0] += 1
    outer = torch.outer(normal, normal)
    return torch.eye(size, dtype=torch.float64) - 2 * outer / normal.dot(normal)


def _norm(name: str, flow: Flow, basis: Tensor, eps: float) -> Weights:
    """Gain and bias by least squares."""
    read, gave = (states.double() @ basis for states in flow)
    read = layer_norm(read, read.shape[1:], eps=eps)
    mean = read.mean(dim=0)
    gain = ((read - mean) * gave).mean(dim=0) / read.var(dim=0, correction=0).clamp_min(1e-12)
    return {f"{name}.weight": gain, f"{name}.bias": gave.mean(dim=0) - gain * mean}


def _attention(
    state: Weights, flows: Flows, prefix: str, basis: Tensor, theirs: Namespace, ours: Namespace
) -> Weights:
    """The heads that write most, in their order; smaller ones by the best products of low rank."""
    count, size = theirs.encoder_attention_heads, len(basis) // theirs.encoder_attention_heads
    narrower = basis.size(1) // ours.encoder_attention_heads

    def reads(name: str) -> Tensor:  # (heads, size, d + 1), with the bias
        weight, bias = (state[f"{prefix}{name}_proj.{kind}"] for kind in ("weight", "bias"))
        return torch.cat([weight @ basis, bias[:, None]], dim=1).view(count, size, -1)

    query, key, value = map(reads, "qkv")
    writes = (state[prefix + "out_proj.weight"].T @ basis).view(count, size, -1)
    inside = flows[prefix + "out_proj"][0].double().unflatten(1, (count, size)).transpose(0, 1)
    kept = _largest((inside @ writes).square().sum(dim=(1, 2)), ours.encoder_attention_heads)
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


def _units(
    state: Weights, flows: Flows, reads: str, writes: str, basis: Tensor, count: int
) -> Weights:
    """The hidden units that change the output most, in their order; of others the mean stays."""
    after, inside = state[writes + ".weight"], flows[writes][0].double()
    mean = inside.mean(dim=0)
    kept = _largest(inside.var(dim=0, correction=0) * after.square().sum(dim=0), count)
    return {
        reads + ".weight": (state[reads + ".weight"] @ basis)[kept],
        reads + ".bias": state[reads + ".bias"][kept],
        writes + ".weight": after[:, kept],
        writes + ".bias": state[writes + ".bias"] + after @ mean - after[:, kept] @ mean[kept],
    }


def _largest(values: Tensor, count: int) -> Tensor:
    return values.argsort(descending=True, stable=True)[:count].sort().values
