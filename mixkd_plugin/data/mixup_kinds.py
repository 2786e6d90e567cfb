"""Kinds of mix that are texts: ``--mixup-kind splice``, ``span`` or a registered one.

Such a mix has some tokens of an example and some of its partner, and goes through a model as a
clean text does. Its lam is the share of its tokens that come from the example. Pairs are mixed
text by text. Interpolation, the paper's kind, is done in :mod:`mixkd_plugin.mixup`.
"""

from functools import partial
from itertools import accumulate, product, zip_longest
from operator import index
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from ..registry import Registry


class Part(NamedTuple):
    """A text of a mix: its length, and how many of its tokens the mix has."""

    length: int
    kept: int


# (the example's text, the partner's, two random numbers) -> positions in one after the other
MixupKind = Callable[[Part, Part, Sequence[float]], Sequence[int]]
Example = Dict[str, Any]  # of fairseq's task

MIXUP_KINDS: Registry[Optional[MixupKind]] = Registry("--mixup-kind")
MIXUP_KINDS.register("interpolate", None)  # embeddings, not tokens


def register_mixup_kind(name: str):
    """Decorate a function that is to be ``--mixup-kind NAME``.

    ``function(own, partner, cuts)``: a text of the example and its partner's, each a :class:`Part`,
    and two random numbers in [0, 1) that belong to the mix. It returns the tokens of the mixed text
    in order, as positions in the example's text followed by the partner's: ``own.kept`` of 0 to
    ``own.length - 1``, and ``partner.kept`` of those after it. It depends only on its arguments:
    every process calls it separately.

    Raises:
        ValueError: if the name is taken; in training, for other results.
    """

    return partial(MIXUP_KINDS.register, name)


@register_mixup_kind("splice")
def _splice(own: Part, partner: Part, cuts: Sequence[float]) -> Sequence[int]:
    """The beginning of the example's text and the end of the partner's."""
    end = own.length + partner.length
    return [*range(own.kept), *range(end - partner.kept, end)]


@register_mixup_kind("span")
def _span(own: Part, partner: Part, cuts: Sequence[float]) -> Sequence[int]:
    """The example's text with a random span of the partner's in the place of one of its own."""
    before = int(cuts[0] * (own.kept + 1))
    start = own.length + int(cuts[1] * (partner.length - partner.kept + 1))
    after = range(own.length - own.kept + before, own.length)
    return [*range(before), *range(start, start + partner.kept), *after]


def mixed_length(lam: np.ndarray, own: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """Tokens, at most, of a mix of two rows; lam as drawn. Never more than the longer row has."""
    return np.minimum(np.ceil(lam * own + (1 - lam) * partner), np.maximum(own, partner))


class TokenMixer:
    """Mixes examples of fairseq's ``sentence_prediction`` by the kinds of ``--mixup-kind``.

    ``is_text`` (kinds,) is False for interpolation.

    Args:
        names: of the kinds
        special: ids of tokens that belong to no text, such as separators: they stay
        pad: id of padding

    Raises:
        ValueError: for an unknown kind, or one that gives other positions than it must.
    """

    def __init__(self, names: Sequence[str], special: Sequence[int], pad: int):
        self.names = list(names)
        self.pad = pad
        self._rules = [MIXUP_KINDS.find(name) for name in names]
        self.is_text = np.array([rule is not None for rule in self._rules])
        self._special = frozenset(special)
        parts = [Part(1, 0), Part(1, 1), Part(9, 5)]
        for kind, own, partner in product(np.flatnonzero(self.is_text), parts, parts):
            once, again = (self._positions(kind, own, partner, (0.2, 0.9)) for _ in range(2))
            if once != again:
                raise ValueError(
                    f"--mixup-kind {names[kind]}: the rule must depend on its arguments alone, got "
                    f"{once} and {again} for {own} and {partner}"
                )

    def lengths(
        self, own: np.ndarray, partner: np.ndarray, lam: np.ndarray, kinds: np.ndarray
    ) -> np.ndarray:
        """Tokens, at most, of mixes of two rows; an interpolation has those of the longer one."""
        text = mixed_length(lam, own, partner).astype(np.int64)
        return np.where(self.is_text[kinds], text, np.maximum(own, partner))

    def mix_all(self, example: Example, kinds: np.ndarray, cuts: np.ndarray) -> None:
        """Make mixes of an example's ``partners``, of weights ``lam``, in place.

        It gets ``is_text``, (ratio,), too; lam is then as it came out.

        Args:
            kinds, cuts: of its mixes, (ratio,) and (ratio, 2), as in :class:`MixupPlan`
        """
        plan = (numbers.tolist() for numbers in (example["lam"], kinds, cuts))
        mixes = [self.mix(example, *of_mix) for of_mix in zip(example["partners"], *plan)]
        example["partners"], lam = zip(*mixes)
        example.update(lam=np.array(lam), is_text=self.is_text[kinds])

    def mix(
        self, example: Example, partner: Example, lam: float, kind: int, cuts: Sequence[float]
    ) -> Tuple[Example, float]:
        """The partner, with the mix's tokens if that is a text; and lam, as it came out."""
        if not self.is_text[kind]:
            return partner, lam
        own, other = (one["net_input.src_tokens"].tolist() for one in (example, partner))
        row, lam = self._mixed(own, other, lam, kind, cuts)
        partner = {**partner, "net_input.src_tokens": torch.tensor(row)}
        partner["net_input.src_lengths"] = len(row)
        return partner, lam

    def _mixed(
        self, own: List[int], partner: List[int], lam: float, kind: int, cuts: Sequence[float]
    ) -> Tuple[List[int], float]:
        (texts, special), (others, more_special) = self._texts(own), self._texts(partner)
        if len(more_special) > len(special):  # --shorten-method cut off the example's last ones
            special = more_special
        texts, others = zip(*zip_longest(texts, others, fillvalue=[]))
        row, from_example = [], []  # tokens; True, False, or None for a special one
        for i, (kept, cut_off) in enumerate(zip(_shares(texts, lam), _shares(others, lam))):
            own_part = Part(len(texts[i]), kept)
            partner_part = Part(len(others[i]), len(others[i]) - cut_off)
            positions = self._positions(kind, own_part, partner_part, cuts)
            both = texts[i] + others[i]
            row += [both[position] for position in positions] + special[i : i + 1]
            from_example += [position < len(texts[i]) for position in positions] + [None]
        end = int(mixed_length(lam, len(own), len(partner)))
        kept, taken = (from_example[:end].count(source) for source in (True, False))
        return row[:end], kept / (kept + taken) if kept + taken else lam

    def _texts(self, tokens: List[int]) -> Tuple[List[List[int]], List[int]]:
        """The texts before, between and after special tokens, and those tokens."""
        texts, special = [[]], []
        for token in tokens:
            if token in self._special:
                special.append(token)
                texts.append([])
            else:
                texts[-1].append(token)
        return texts, special

    def _positions(self, kind: int, own: Part, partner: Part, cuts: Sequence[float]) -> List[int]:
        """The rule's result, checked."""
        count, end = own.kept + partner.kept, own.length + partner.length
        if count == 0:
            return []
        given = self._rules[kind](own, partner, cuts)
        try:
            found = [index(position) for position in given]
        except TypeError:  # no list, or not of integers
            found = []
        in_example = sum(0 <= position < own.length for position in found)
        in_partner = sum(own.length <= position < end for position in found)
        if (in_example, in_partner, len(found)) != (own.kept, partner.kept, count):
            raise ValueError(
                f"--mixup-kind {self.names[kind]}: the rule must give {count} integers, {own.kept} "
                f"below {own.length} and {partner.kept} from there to {end - 1}, got {given!r}"
            )
        return found


def _shares(texts: Sequence[List[int]], lam: float) -> List[int]:
    """How many tokens of each text are a share ``lam``, rounded so that all texts' are, too.

    A mix of two rows is then no longer than the longer one, however many texts they have.
    """
    ends = [int(lam * end + 0.5) for end in accumulate(map(len, texts))]
    return [end - start for start, end in zip([0, *ends], ends)]
