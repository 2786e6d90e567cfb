"""Mixup of token embeddings and of targets.

MixKD (Liang et al., ICLR 2021), section 3.1: for an example (x, y), a partner (x', y') and a
weight ``lam`` in [0, 1], ``lam`` being the weight of the *example* and ``1 - lam`` the partner's,

    e_t = lam * E(x)_t + (1 - lam) * E(x')_t        y_m = lam * y + (1 - lam) * y'

Letters in shape comments: B clean examples, M mixes (M = B * ratio), T positions,
D embedding width, C classes or regression targets.
"""

from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor


class Mix(NamedTuple):
    """The partners of a clean batch: sequence m mixes example m % B with partner m.

    partner_tokens: (M, T') token ids, padded on the right
    lam: (M,) weight of the example; float64, since half-precision trainers cast every float32
        tensor of a sample
    with_clean: whether the clean examples are computed, too, before the mixes
    is_text: True, or (M,) True, where sequence m of ``partner_tokens`` is itself the mix of both
    pad: id of padding; needed where there are such texts
    """

    partner_tokens: Tensor
    lam: Tensor
    with_clean: bool = True
    is_text: Union[bool, Tensor] = False
    pad: Optional[int] = None

    @classmethod
    def of(cls, batch: Dict[str, Any], partner_tokens: Tensor, with_clean: bool) -> "Mix":
        """The mix of a batch that has partners, of these token ids."""
        device, is_text = partner_tokens.device, batch.get("is_text", False)
        if torch.is_tensor(is_text):
            is_text = is_text.to(device)
        return cls(partner_tokens, batch["lam"].to(device), with_clean, is_text, batch.get("pad"))

    def model_input(self, tokens: Tensor) -> Tuple[Tensor, Optional["Mix"]]:
        """The input of a model for the clean examples (B, T) and this mix: no model knows texts.

        Texts are sequences like clean ones. Where only some mixes are texts, every sequence is a
        mix: a text with itself, of weight 1.
        """
        if self.is_text is False:
            return tokens, self
        if self.is_text is True and not self.with_clean:
            return self.partner_tokens, None
        width = max(tokens.size(1), self.partner_tokens.size(1))
        clean, mixes = (
            F.pad(t, (0, width - t.size(1)), value=self.pad) for t in (tokens, self.partner_tokens)
        )
        if self.is_text is True:
            return torch.cat([clean, mixes]), None
        own = clean.repeat(len(mixes) // len(clean), 1)
        own = torch.where(self.is_text.unsqueeze(1), mixes, own)
        lam = self.lam.masked_fill(self.is_text, 1.0)
        if self.with_clean:
            own, mixes = torch.cat([clean, own]), torch.cat([clean, mixes])
            lam = torch.cat([lam.new_ones(len(clean)), lam])
        return own, Mix(mixes, lam, with_clean=False)

    def split_logits(self, logits: Tensor) -> Tuple[Optional[Tensor], Tensor]:
        """[clean; mixed] or [mixed] as two: (B, C) or None, and (M, C)."""
        n = len(logits) - len(self.lam)
        return (logits[:n] if self.with_clean else None), logits[n:]


def mix_embeddings(
    embeddings: Tensor, partner_embeddings: Tensor, mask: Tensor, partner_mask: Tensor, lam: Tensor
) -> Tensor:
    """Interpolate two batches of token embeddings, position by position.

    Args:
        embeddings, partner_embeddings: (M, T, D)
        mask, partner_mask: (M, T) True where a position holds a token. Elsewhere the embedding
            counts as the zero vector, whatever the padding symbol's embedding is.
        lam: (M,) weight of ``embeddings``

    Returns:
        (M, T, D) in the embeddings' type; computed in float32 or float64.
    """
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    lam = lam.to(wide).unsqueeze(-1)  # (M, 1)
    weight = (lam * mask).unsqueeze(-1)  # (M, T, 1)
    partner_weight = ((1 - lam) * partner_mask).unsqueeze(-1)
    # filled, not only weighted with zero: padding embeddings may be nan
    embeddings = embeddings.masked_fill(~mask.unsqueeze(-1), 0)
    partner_embeddings = partner_embeddings.masked_fill(~partner_mask.unsqueeze(-1), 0)
    return (weight * embeddings + partner_weight * partner_embeddings).to(embeddings.dtype)


def stack_rows(
    embed: torch.nn.Embedding, tokens: Tensor, mix: Mix, with_clean: Optional[bool] = None
) -> Tuple[Tensor, Tensor]:
    """Put clean and mixed sequences in one batch: [clean; mixed], or [mixed] alone.

    Args:
        embed: token embedding, whose ``padding_idx`` marks padding
        tokens: (B, T) clean examples
        mix: their partners, (M, T'), M a multiple of B
        with_clean: instead of the mix's own

    Returns:
        token ids (R, max(T, T')): padding exactly where neither text has a token, so that
        positions and attention masks are those of the union of both texts; and
        token embeddings (R, max(T, T'), D), with R = B + M or M.
    """
    pad = embed.padding_idx
    own, partners, union = union_rows(tokens, mix.partner_tokens, pad)
    tokens = F.pad(tokens, (0, union.size(1) - tokens.size(1)), value=pad)
    clean = embed(tokens)
    repeated = clean.repeat(len(own) // len(tokens), 1, 1)
    mixed = mix_embeddings(repeated, embed(partners), own.ne(pad), partners.ne(pad), mix.lam)
    if not (mix.with_clean if with_clean is None else with_clean):
        return union, mixed
    return torch.cat([tokens, union]), torch.cat([clean, mixed])


def union_rows(tokens: Tensor, partners: Tensor, pad: int) -> Tuple[Tensor, Tensor, Tensor]:
    """The two texts of every mix, and their union, (M, max(T, T')) each.

    Returns:
        the example's token ids, m being example m % B; the partner's; and the example's where
        it has a token, else the partner's: padding exactly where neither text has a token.
    """
    width = max(tokens.size(1), partners.size(1))
    tokens = F.pad(tokens, (0, width - tokens.size(1)), value=pad)
    partners = F.pad(partners, (0, width - partners.size(1)), value=pad)
    own = tokens.repeat(partners.size(0) // tokens.size(0), 1)
    return own, partners, torch.where(own.ne(pad), own, partners)


def mix_targets(
    targets: Tensor, partner_targets: Tensor, lam: Tensor, num_classes: Optional[int] = None
) -> Tensor:
    """Interpolate targets: one-hot vectors for classes, values for regression.

    Args:
        targets: (B,) class indices where ``num_classes`` is given, else (B, C) values
        partner_targets: (M,) or (M, C), M a multiple of B
        lam: (M,) weight of ``targets``

    Returns:
        (M, num_classes) or (M, C), in float32 or float64.
    """
    if num_classes is not None:
        targets, partner_targets = (
            F.one_hot(t, num_classes).float() for t in (targets, partner_targets)
        )
    ratio = partner_targets.size(0) // targets.size(0)
    wide = torch.promote_types(targets.dtype, torch.float32)
    lam = lam.to(wide).unsqueeze(-1)
    return lam * targets.repeat(ratio, 1) + (1 - lam) * partner_targets
