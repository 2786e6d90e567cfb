"""Concatenates sequences of different lengths without padding.

Letters in shape comments: B clean examples, R sequences, N tokens of all, P tokens of partners.
"""

from itertools import groupby
from typing import List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..mixup import Mix, union_rows
from .token_types import in_second_text


class Packing(NamedTuple):
    """The N packed tokens of R sequences.

    tokens: (N,) ids; at a mixed position the example's, or the partner's where it has none
    positions: (N,) position in the sequence, from 0
    starts: (R,) start of each sequence, in packed order
    inverse_permutation: (R,) packed position of each input sequence
    groups: (sequences, tokens of each) for every length
    second: (N,) where a token is of a second text; None: there are no token types
    """

    tokens: Tensor
    positions: Tensor
    starts: Tensor
    inverse_permutation: Tensor
    groups: List[Tuple[int, int]]
    second: Optional[Tensor]


class PackedMix(NamedTuple):
    """e = weight * E(tokens), and at ``partner_index`` + partner_weight * E(partner_tokens).

    weight: (N, 1); partner_index, partner_tokens: (P,); partner_weight: (P, 1)
    partner_second: (P,), as Packing.second
    """

    weight: Tensor
    partner_index: Tensor
    partner_tokens: Tensor
    partner_weight: Tensor
    partner_second: Optional[Tensor]


def pack(
    tokens: Tensor, pad: int, mix: Optional[Mix], separator: Optional[int] = None
) -> Tuple[Packing, Optional[PackedMix]]:
    """Pack clean sequences (B, T), or those that :func:`models.encode.encode` describes.

    Args:
        separator: ends the first text, if the model has token types
    """
    rows, first_mixed = tokens, len(tokens)
    if mix is not None:
        own, partners, rows = union_rows(tokens, mix.partner_tokens, pad)
        if mix.with_clean:
            rows = torch.cat([F.pad(tokens, (0, rows.size(1) - tokens.size(1)), value=pad), rows])
        else:
            first_mixed = 0
    mask = rows.ne(pad)
    lengths, order = torch.sort(mask.sum(dim=1), stable=True)
    mask = mask[order]
    where = mask.flatten().nonzero().squeeze(1)  # (N,)
    second = partner_second = None
    if separator is not None:  # row r has example r % B, mixed or not
        examples = F.pad(tokens, (0, rows.size(1) - tokens.size(1)), value=pad)
        second = in_second_text(examples, separator)[order % len(tokens)].flatten()[where]
    packing = Packing(
        tokens=rows[order].flatten()[where],
        positions=(mask.cumsum(dim=1) - 1).flatten()[where],
        starts=lengths.cumsum(dim=0) - lengths,
        inverse_permutation=torch.argsort(order),
        groups=[(len([*rows]), length) for length, rows in groupby(lengths.tolist())],
        second=second,
    )
    if mix is None:
        return packing, None

    is_mixed = (order >= first_mixed).unsqueeze(1)  # (R, 1)
    mix_index = (order - first_mixed).clamp(min=0)  # of each sequence, (R,)
    lam = mix.lam[mix_index].unsqueeze(1).masked_fill(~is_mixed, 1.0)
    absent = own.eq(pad)[mix_index] & is_mixed
    present = partners.ne(pad)[mix_index] & is_mixed
    partner_index = present.flatten()[where].nonzero().squeeze(1)  # (P,)
    of_partners = where[partner_index]
    if separator is not None:
        partner_second = in_second_text(partners, separator)[mix_index].flatten()[of_partners]
    return packing, PackedMix(
        weight=lam.masked_fill(absent, 0.0).flatten()[where].unsqueeze(1),
        partner_index=partner_index,
        partner_tokens=partners[mix_index].flatten()[of_partners],
        partner_weight=(1 - lam).expand_as(mask).flatten()[of_partners].unsqueeze(1),
        partner_second=partner_second,
    )


def unpack(values: List[Tensor], packing: Packing) -> List[Tensor]:
    """Values (N, D) of packed tokens as (R, T, D), T being the longest sequence: 0 at padding."""
    width = packing.groups[-1][1]
    rows = packing.inverse_permutation.argsort()  # the input sequence of each packed one
    places = rows[packing.positions.eq(0).cumsum(0) - 1] * width + packing.positions
    return [
        x.new_zeros(len(rows) * width, x.size(1))
        .index_copy(0, places, x)
        .view(len(rows), width, -1)
        for x in values
    ]
