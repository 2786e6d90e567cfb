"""Token types: each position of a pair's second text has an embedding of its own, as in BERT.

The type is part of a token's embedding, so that a mix has the types of both of its sequences, each
with its own boundary. It follows from the tokens: the first </s> ends the first text.
"""

from typing import Optional

from torch import Tensor, nn

TABLE = "sentence_encoder.embed_tokens.types.weight"  # end of its name in a checkpoint


class TypedEmbedding(nn.Embedding):
    """Embeddings of tokens, each with that of its type; ``weight`` has the tokens alone.

    Args:
        tokens: whose parameter it shares
        separator: index of the symbol that ends the first text
    """

    def __init__(self, tokens: nn.Embedding, separator: int):
        rows, width = tokens.weight.shape
        super().__init__(rows, width, tokens.padding_idx, _weight=tokens.weight)
        self.weight = tokens.weight  # a language-model head may be tied to it
        self.separator = separator
        self.types = nn.Embedding(2, width)
        nn.init.normal_(self.types.weight, std=0.02)  # as fairseq's and BERT's embeddings

    def forward(self, tokens: Tensor, second: Optional[Tensor] = None) -> Tensor:
        """(..., T) to (..., T, D); ``second``: where tokens are of a second text."""
        if second is None:
            second = in_second_text(tokens, self.separator)
        return super().forward(tokens) + self.types(second.long())


def in_second_text(tokens: Tensor, separator: int) -> Tensor:
    """Where a text's first separator has passed, (..., T); of padding nothing is said."""
    ends = tokens.eq(separator)
    return ends.cumsum(dim=-1) > ends


def number_of_types(model: nn.Module) -> int:
    """1 or 2, of a RoBERTa, or of any model."""
    return 2 if any(isinstance(module, TypedEmbedding) for module in model.modules()) else 1
