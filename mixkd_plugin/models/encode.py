"""The interface between mixing and an encoder: token ids in, logits out, in one pass.

Student and teacher both use it. A model of another family extends ``MixupModel``; other models
need these attributes of fairseq's ``RobertaModel``:
``encoder.sentence_encoder.embed_tokens``, ``encoder.extract_features`` and
``classification_heads``. Call it inside the module that DDP or FSDP wraps, not outside.
"""

from typing import Optional

from torch import Tensor

from ..mixup import Mix, stack_rows
from ..modules.packed_encoder import can_pack, encode_packed
from .mixup_model import MixupModel


def encode(model, head: str, tokens: Tensor, mix: Optional[Mix], padding_free: bool) -> Tensor:
    """Logits of clean and mixed sequences, (R, C): [clean; mixed], or one kind alone.

    Args:
        head: name of the classification head
        tokens: (B, T) clean examples
        mix: their partners; None for clean examples alone
        padding_free: skip computations that no logit depends on, if
            :mod:`mixkd_plugin.modules.packed_encoder` supports the model

    fairseq's ``RobertaEncoder.forward`` silently drops token embeddings, so this calls
    ``extract_features``, which passes them on.
    """
    if isinstance(model, MixupModel):
        return model.encode_rows(head, tokens, mix, mix is None or mix.with_clean)
    if padding_free and can_pack(model, head, tokens):
        features = encode_packed(model, tokens, mix)
    elif mix is None:
        features, _ = model.encoder.extract_features(tokens)
    else:
        embed = model.encoder.sentence_encoder.embed_tokens
        tokens, embeddings = stack_rows(embed, tokens, mix)
        features, _ = model.encoder.extract_features(tokens, token_embeddings=embeddings)
    return model.classification_heads[head](features)  # reads only <s>
