"""The interface between mixing and an encoder: token ids in, logits out, in one pass.

Student and teacher both use it. A model that takes mixes computes them in its ``forward``; others
need these attributes of fairseq's ``RobertaModel``:
``encoder.sentence_encoder.embed_tokens``, ``encoder.extract_features`` and
``classification_heads``.
"""

from typing import Optional

from torch import Tensor

from ..mixup import Mix, stack_rows
from ..modules.packed_encoder import can_pack, encode_packed
from .mixup_model import States


def logits_of(
    model, head: str, tokens: Tensor, mix: Optional[Mix], padding_free: bool, states: States = None
) -> Tensor:
    """The same as :func:`encode`, of any model that is supported: a teacher's logits.

    A model that takes mixes is called as the criterion calls a student, so that a ``forward`` of
    its own counts. It knows by itself whether it is computed without padding.
    """
    if not getattr(model, "supports_mixup", False):
        return encode(model, head, tokens, mix, padding_free, states)
    options = {} if mix is None else {"mix": mix}
    if states is not None:
        options["with_states"] = True
    logits, extra = model(
        src_tokens=tokens, features_only=True, classification_head_name=head, **options
    )
    if states is not None:
        states += extra["states"]
    return logits


def encode(
    model, head: str, tokens: Tensor, mix: Optional[Mix], padding_free: bool, states: States = None
) -> Tensor:
    """Logits of clean and mixed sequences, (R, C): [clean; mixed], or one kind alone.

    For a RoBERTa; call it inside the module that DDP or FSDP wraps, not outside.

    Args:
        head: name of the classification head
        tokens: (B, T) clean examples
        mix: their partners; None for clean examples alone
        padding_free: skip computations that no logit depends on, if
            :mod:`mixkd_plugin.modules.packed_encoder` supports the model
        states: gets the hidden states after each layer, (R, T, D), zero at padding

    fairseq's ``RobertaEncoder.forward`` silently drops token embeddings, so this calls
    ``extract_features``, which passes them on.
    """
    if padding_free and can_pack(model, head, tokens):
        features = encode_packed(model, tokens, mix, states)
    else:
        embed, options = model.encoder.sentence_encoder.embed_tokens, {}
        if mix is not None:
            tokens, options["token_embeddings"] = stack_rows(embed, tokens, mix)
        if states is not None:
            options["return_all_hiddens"] = True
        features, extra = model.encoder.extract_features(tokens, **options)
        if states is not None:
            padding = tokens.eq(embed.padding_idx).unsqueeze(-1)
            _, *of_layers = extra["inner_states"]  # (T, R, D), the first one of the embeddings
            states += [state.transpose(0, 1).masked_fill(padding, 0) for state in of_layers]
    return model.classification_heads[head](features)  # reads only <s>
