"""The seam between mixing and an encoder: rows in, logits out, in one pass.

Student and teacher both go through it. A model of another family extends ``MixupModel`` and so has
the seam; of others this needs what fairseq's ``RobertaModel`` has:
``encoder.sentence_encoder.embed_tokens``, ``encoder.extract_features`` and
``classification_heads``. Call it inside the module that DDP or FSDP wraps, never around it.
"""

from typing import Optional, Tuple

from torch import Tensor

from ..mixup import Mix, stack_rows
from ..modules.packed_encoder import can_pack, encode_packed
from .mixup_model import MixupModel


def encode(
    model, head: str, tokens: Tensor, mix: Optional[Mix], with_clean: bool, padding_free: bool
) -> Tensor:
    """Logits of clean and mixed rows, (R, C): [clean; mixed], or one kind alone.

    Args:
        head: name of the classification head
        tokens: (B, T) clean examples
        mix: their partners; None for clean rows alone
        with_clean: whether clean rows are wanted where there are mixed ones
        padding_free: leave out what no logit depends on, where the model is one that
            :mod:`mixkd_plugin.modules.packed_encoder` knows

    fairseq's ``RobertaEncoder.forward`` drops token embeddings without a word, so this calls
    ``extract_features``, which hands them on.
    """
    if isinstance(model, MixupModel):
        return model.encode_rows(head, tokens, mix, with_clean)
    if padding_free and can_pack(model, head, tokens):
        features = encode_packed(model, tokens, mix, with_clean)
    elif mix is None:
        features, _ = model.encoder.extract_features(tokens)
    else:
        embed = model.encoder.sentence_encoder.embed_tokens
        tokens, embeddings = stack_rows(embed, tokens, mix, with_clean)
        features, _ = model.encoder.extract_features(tokens, token_embeddings=embeddings)
    return model.classification_heads[head](features)  # reads <s> alone


def split_rows(
    logits: Tensor, n: int, with_clean: bool
) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """[n clean; mixed] rows, as :func:`encode` has them; None for a kind that is not there."""
    clean, mixed = (logits[:n], logits[n:]) if with_clean else (None, logits)
    return clean, (mixed if len(mixed) else None)
