"""A padding-free pass of fairseq's RoBERTa encoder: the same logits from the same modules.

The tokens of all sequences are concatenated, shorter sequences first, without padding. The last
layer is computed only for ``<s>``, the position that the head reads. Sequences of equal length are
adjacent, so that attention has a dense batch without a copy or a mask. Letters in shape comments:
R sequences, N tokens of all sequences, D width, H heads.
"""

import functools
import logging
from typing import List, Optional

import torch
import torch.nn.functional as F
from fairseq.models.roberta.model import RobertaClassificationHead, RobertaEncoder
from fairseq.models.transformer import TransformerEncoder
from fairseq.modules import LearnedPositionalEmbedding, MultiheadAttention, gelu
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from torch import Tensor, nn

from ..mixup import Mix
from .dropout import apply_dropout
from .packed_attention import attend
from .packing import PackedMix, Packing, pack, unpack

logger = logging.getLogger(__name__)


def encode_packed(
    model, tokens: Tensor, mix: Optional[Mix], states: Optional[List[Tensor]] = None
) -> Tensor:
    """Features (R, 1, D) of ``<s>``, for the model's classification head.

    Equal to fairseq's up to rounding; with dropout, equal in distribution. ``states`` gets those
    after each layer, (R, T, D), zero at padding: then the last layer is computed for all tokens.
    """
    encoder = model.encoder.sentence_encoder
    separator = getattr(encoder.embed_tokens, "separator", None)
    packing, packed_mix = pack(tokens, encoder.padding_idx, mix, separator)
    x = _embed(encoder, packing, packed_mix)
    *inner, last = encoder.layers
    found = []
    for layer in inner:
        x = _layer(layer, x, packing)
        if states is not None:
            found.append(x)
    if states is None:
        x = _layer(last, x, packing, first_only=True)
    else:
        x = _layer(last, x, packing)
        states += unpack([*found, x], packing)
        x = x.index_select(0, packing.starts)
    if encoder.layer_norm is not None:
        x = encoder.layer_norm(x)
    return x.index_select(0, packing.inverse_permutation).unsqueeze(1)


def _embed(encoder, packing: Packing, mix: Optional[PackedMix]) -> Tensor:
    """(N, D): embeddings of tokens, mixed with ``mix``, and of positions."""
    tokens, second = [packing.tokens], [packing.second]
    if mix is not None:  # one lookup: the gradient of each is as large as the vocabulary
        tokens, second = [*tokens, mix.partner_tokens], [*second, mix.partner_second]
    types = () if packing.second is None else (torch.cat(second),)
    x = both = encoder.embed_tokens(torch.cat(tokens), *types)
    if mix is not None:
        wide = torch.promote_types(both.dtype, torch.float32)
        x, partners = both.to(wide).split([len(packing.tokens), len(mix.partner_tokens)])
        x = x * mix.weight.to(wide)
        x = x.index_add(0, mix.partner_index, partners * mix.partner_weight.to(wide)).to(both.dtype)
    x = encoder.embed_scale * x
    if encoder.embed_positions is not None:
        table = encoder.embed_positions
        x = x + F.embedding(
            packing.positions + table.padding_idx + 1, table.weight, table.padding_idx
        )
    if encoder.layernorm_embedding is not None:
        x = encoder.layernorm_embedding(x)
    return apply_dropout(encoder.dropout_module, x)


def _layer(layer, x: Tensor, packing: Packing, first_only: bool = False) -> Tensor:
    """One encoder layer over (N, D); with ``first_only`` (R, D), the first token of each.

    fairseq's gelu makes float32 copies in half precision; torch's needs none, and is equal but
    for rounding.
    """
    attention = layer.self_attn
    residual = x
    if layer.normalize_before:
        x = layer.self_attn_layer_norm(x)
    x = attend(attention, x, packing, first_only)
    if first_only:
        residual = residual.index_select(0, packing.starts)
    x = residual + apply_dropout(layer.dropout_module, attention.out_proj(x))
    if not layer.normalize_before:
        x = layer.self_attn_layer_norm(x)

    residual = x
    if layer.normalize_before:
        x = layer.final_layer_norm(x)
    half = x.dtype in (torch.bfloat16, torch.float16)
    activation = F.gelu if half and layer.activation_fn is gelu else layer.activation_fn
    x = apply_dropout(layer.activation_dropout_module, activation(layer.fc1(x)))
    x = residual + apply_dropout(layer.dropout_module, layer.fc2(x))
    if not layer.normalize_before:
        x = layer.final_layer_norm(x)
    return x


def can_pack(model, head: str, tokens: Tensor) -> bool:
    """Whether :func:`encode_packed` can replace fairseq's pass; if not, the reason is logged."""
    reason = "a TPU" if tokens.device.type == "xla" else unsupported_reason(model, head)
    if reason is not None:
        _log_once(f"--padding-free on: {reason} needs fairseq's own pass, with padding")
    return reason is None


@functools.cache
def _log_once(message: str) -> None:
    logger.info(message)


def unsupported_reason(model, head: str) -> Optional[str]:
    """A part of the model that this pass does not support; None without one.

    Classes other than fairseq's own may compute something else.
    """
    encoder = model.encoder.sentence_encoder
    positions = encoder.embed_positions
    if encoder.training and encoder.encoder_layerdrop > 0:
        return "--encoder-layerdrop"
    expected = [
        (model.encoder, RobertaEncoder),
        (encoder, TransformerEncoder),
        (model.classification_heads[head], RobertaClassificationHead),
    ]
    if positions is not None:
        expected.append((positions, LearnedPositionalEmbedding))
    for layer in encoder.layers:
        attention = layer.self_attn
        expected += [(layer, TransformerEncoderLayerBase), (attention, MultiheadAttention)]
        expected += [(projection, nn.Linear) for projection in (attention.k_proj, attention.v_proj)]
        if "forward" in vars(layer):
            return "--checkpoint-activations"
        if layer.quant_noise > 0:
            return "--quant-noise-pq"
        if getattr(attention, "use_xformers", False):
            return "xformers"
    not_called = [m for m, kind in expected if kind not in (RobertaClassificationHead, nn.Linear)]
    if any(module._forward_hooks or module._forward_pre_hooks for module in not_called):
        return "a hook on a part of the encoder"
    other = next((type(m).__name__ for m, wanted in expected if type(m) is not wanted), None)
    return other if len(encoder.layers) else "an encoder without layers"
