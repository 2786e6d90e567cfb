"""The seam between mixing and a RoBERTa encoder: rows in, logits out, in one pass.

Student and teacher both go through it. It needs of a model what fairseq's ``RobertaModel`` has:
``encoder.sentence_encoder.embed_tokens``, ``encoder.extract_features`` and
``classification_heads``. Call it inside the module that DDP or FSDP wraps, never around it.
"""

from typing import Optional

from torch import Tensor

from .mixup import Mix, stack_rows


def encode(model, head: str, tokens: Tensor, mix: Optional[Mix], with_clean: bool) -> Tensor:
    """Logits of clean and mixed rows, (R, C): [clean; mixed], or one kind alone.

    Args:
        head: name of the classification head
        tokens: (B, T) clean examples
        mix: their partners; None for clean rows alone
        with_clean: whether clean rows are wanted where there are mixed ones

    fairseq's ``RobertaEncoder.forward`` drops token embeddings without a word, so this calls
    ``extract_features``, which hands them on.
    """
    if mix is None:
        features, _ = model.encoder.extract_features(tokens)
    else:
        embed = model.encoder.sentence_encoder.embed_tokens
        tokens, embeddings = stack_rows(embed, tokens, mix, with_clean)
        features, _ = model.encoder.extract_features(tokens, token_embeddings=embeddings)
    return model.classification_heads[head](features)  # reads <s> alone
