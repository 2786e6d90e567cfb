"""The base of students and teachers that are no RoBERTa: mixing around an encoder of embeddings."""

import sys
from collections import OrderedDict
from typing import List, Optional, Sequence, Tuple

from fairseq.models import BaseFairseqModel
from torch import Tensor, nn

from ..mixup import Mix, stack_rows

States = Optional[List[Tensor]]  # a list that gets the hidden states; None: they are not wanted


class MixupModel(BaseFairseqModel):
    """A classifier of texts by their token embeddings, mixed or not.

    A subclass is registered with fairseq, builds itself in ``build_model``, and implements
    :meth:`features`. Mixing, classification heads and the checks of a teacher are done here.

    Args:
        embed_tokens: one embedding for each word of the dictionary, with its ``padding_idx``
        width: D, size of :meth:`features` for a text

    Raises:
        ValueError: for an embedding without ``padding_idx``.
    """

    supports_mixup = True

    def __init__(self, embed_tokens: nn.Embedding, width: int):
        super().__init__()
        if embed_tokens.padding_idx is None:
            raise ValueError(f"{type(self).__name__}: embed_tokens has no padding_idx")
        self.embed_tokens = embed_tokens
        self.width = width
        self.classification_heads = nn.ModuleDict()

    def features(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """The input of the classification head, (R, D); to be implemented.

        It gets embeddings instead of tokens, which it could look up without mixing.

        Args:
            embeddings: (R, T, E), zero where ``mask`` is False
            mask: (R, T) True where the text, or one of two mixed texts, has a token. Padding is
                at the end, and no logit may depend on its length.
        """
        raise NotImplementedError

    def features_and_states(
        self, embeddings: Tensor, mask: Tensor
    ) -> Tuple[Tensor, Sequence[Tensor]]:
        """The same, and the hidden states (R, T, E') after each layer; for ``--hidden-weight``."""
        raise ValueError(
            f"--hidden-weight must be 0 for a {type(self).__name__}, which has no "
            "features_and_states"
        )

    def register_classification_head(self, name: str, num_classes: int) -> None:
        """Add a linear head; fairseq's task calls it with the names and classes of its flags."""
        layers = OrderedDict(out_proj=nn.Linear(self.width, num_classes))
        self.classification_heads[name] = nn.Sequential(layers)

    def encode_rows(
        self, head: str, tokens: Tensor, mix: Optional[Mix], with_clean: bool, states: States = None
    ) -> Tensor:
        """Logits (R, C) of the sequences that :func:`mixkd_plugin.models.encode.encode` describes.

        Raises:
            ValueError: if :meth:`features` returns another shape.
        """
        if mix is None:
            embeddings = self.embed_tokens(tokens)
        else:
            tokens, embeddings = stack_rows(self.embed_tokens, tokens, mix, with_clean)
        mask = tokens.ne(self.embed_tokens.padding_idx)
        embeddings = embeddings.masked_fill(~mask.unsqueeze(-1), 0)
        if states is None:
            features = self.features(embeddings, mask)
        else:
            features, found = self.features_and_states(embeddings, mask)
            states += [state.masked_fill(~mask.unsqueeze(-1), 0) for state in found]
        if features.shape != (len(tokens), self.width):
            raise ValueError(
                f"{type(self).__name__}.features must have the shape (sequences, width), "
                f"{(len(tokens), self.width)}, got {tuple(features.shape)}"
            )
        return self.classification_heads[head](features)

    def forward(
        self,
        src_tokens: Tensor,
        classification_head_name: str,
        mix: Optional[Mix] = None,
        with_clean: Optional[bool] = None,
        with_states: bool = False,
        **_unused,
    ):
        """(logits (R, C), {}), as for criterions of sentence prediction.

        ``with_clean`` is used instead of the mix's own. ``with_states``: the hidden states are
        returned, too, by this name.
        """
        if with_clean is None:
            with_clean = mix is None or mix.with_clean
        rows = classification_head_name, src_tokens, mix, with_clean
        if not with_states:
            return self.encode_rows(*rows), {}
        states: List[Tensor] = []
        return self.encode_rows(*rows, states), {"states": states}

    def max_positions(self) -> int:
        """Tokens of the longest text: no limit, unless a subclass overrides this."""
        return sys.maxsize
