"""A trained student as one plain module: token ids in, logits out, nothing of fairseq's machinery.

fairseq's own forward branches on what is in a batch, which a traced or exported graph cannot do.
This one does the same arithmetic with the same parameters for every batch, and computes the last
layer for ``<s>`` alone, which is all that the head reads.
"""

import torch
from fairseq.models.roberta.model import RobertaModel
from torch import Tensor, nn

from ...modules import packed_encoder


class ServedStudent(nn.Module):
    """Logits (B, C) of token ids (B, T), padded with the dictionary's padding index.

    Raises:
        ValueError: naming what in the model this arithmetic does not know.
    """

    def __init__(self, model: RobertaModel, head: str):
        super().__init__()
        reason = packed_encoder.unsupported_reason(model, head)
        if reason is not None:
            raise ValueError(f"{reason} cannot be exported")
        self.encoder = model.encoder.sentence_encoder
        self.head = model.classification_heads[head]
        self.eval()

    def forward(self, input_ids: Tensor) -> Tensor:
        encoder = self.encoder
        real = input_ids.ne(encoder.padding_idx)
        x = encoder.embed_scale * encoder.embed_tokens(input_ids)
        if encoder.embed_positions is not None:
            positions = real.long().cumsum(dim=1) * real + encoder.padding_idx
            x = x + nn.functional.embedding(positions, encoder.embed_positions.weight)
        if encoder.layernorm_embedding is not None:
            x = encoder.layernorm_embedding(x)
        hidden = (~real)[:, None, None, :]
        *inner, last = encoder.layers
        for layer in inner:
            x = _layer(layer, x, x, hidden)
        x = _layer(last, x, x[:, :1], hidden)
        if encoder.layer_norm is not None:
            x = encoder.layer_norm(x)
        return self.head(x)


def _layer(layer, x: Tensor, wanted: Tensor, hidden: Tensor) -> Tensor:
    """A layer's output (B, W, D) for W positions ``wanted`` of x (B, T, D).

    hidden: (B, 1, 1, T) True where there is padding
    """
    attention, before = layer.self_attn, layer.normalize_before
    source, asking = x, wanted
    if before:
        source, asking = layer.self_attn_layer_norm(x), layer.self_attn_layer_norm(wanted)
    q, k, v = (
        projection(y).unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)
        for projection, y in (
            (attention.q_proj, asking),
            (attention.k_proj, source),
            (attention.v_proj, source),
        )
    )
    scores = (attention.scaling * q) @ k.transpose(2, 3)
    weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1)
    y = wanted + attention.out_proj((weights @ v).transpose(1, 2).flatten(2))
    if not before:
        y = layer.self_attn_layer_norm(y)
    z = layer.final_layer_norm(y) if before else y
    y = y + layer.fc2(layer.activation_fn(layer.fc1(z)))
    return y if before else layer.final_layer_norm(y)
