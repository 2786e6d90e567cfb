"""Mixes that are texts, against splices and spans written in lists."""

import math
import random

import numpy as np
import pytest
import torch

from mixkd_plugin.data.mixup_kinds import TokenMixer, mixed_length

INIT, PAD, END = 0, 1, 2
LAYOUTS = {  # the tokens around each text
    "<s> A </s>": [([INIT], [END])],
    "<s> A </s> B </s>": [([INIT], [END]), ([], [END])],
    "<s> A </s> </s> B </s>": [([INIT], [END]), ([END], [END])],
    "A </s> B </s>": [([], [END]), ([], [END])],
}


def laid_out(layout, texts):
    rows = (before + text + after for (before, after), text in zip(LAYOUTS[layout], texts))
    return sum(rows, [])


def draw(rng, layout, first):
    """Texts of 0 to 9 tokens, each another number from ``first``."""
    numbers = iter(range(first, first + 100))
    return [[next(numbers) for _ in range(rng.randrange(10))] for _ in LAYOUTS[layout]]


def mix(kind, own, partner, lam, cuts=(0.3, 0.8), special=(INIT, END)):
    mixer = TokenMixer([kind], special, PAD)
    item, share = mixer.mix(
        {"net_input.src_tokens": torch.tensor(own)},
        {"net_input.src_tokens": torch.tensor(partner), "target": "the partner's"},
        *(lam, 0, cuts),
    )
    assert item["target"] == "the partner's"
    assert item["net_input.src_lengths"] == len(item["net_input.src_tokens"])
    return item["net_input.src_tokens"].tolist(), share


def shares(texts, lam):
    """Of the first text the rounded share, of the second one what is left of all texts' share."""
    first, both = (math.floor(lam * n + 0.5) for n in (len(texts[0]), sum(map(len, texts))))
    return [first, both - first]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_splice_is_the_beginning_of_one_and_the_end_of_the_other(layout):
    rng = random.Random(1)
    for _ in range(300):
        texts, others = draw(rng, layout, 100), draw(rng, layout, 200)
        own, partner = laid_out(layout, texts), laid_out(layout, others)
        lam = rng.choice([0.0, 0.5, 1.0, rng.random(), rng.random()])
        pairs = list(zip(texts, others, shares(texts, lam), shares(others, lam)))
        expected = [a[:k] + b[j:] for a, b, k, j in pairs]
        row, share = mix("splice", own, partner, lam)
        assert row == laid_out(layout, expected)
        kept, count = sum(k for *_, k, _ in pairs), len(sum(expected, []))
        assert share == (kept / count if count else lam)
        assert len(row) <= mixed_length(lam, len(own), len(partner)) <= max(len(own), len(partner))
        assert lam < 1 or (row == own and (share == 1 or not count))
        assert lam > 0 or (row == partner and (share == 0 or not count))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_span_of_one_is_in_the_place_of_a_span_of_the_other(layout):
    rng = random.Random(2)
    for _ in range(300):
        texts, others = draw(rng, layout, 100), draw(rng, layout, 200)
        own, partner = laid_out(layout, texts), laid_out(layout, others)
        lam, cuts = rng.random(), (rng.random(), rng.random())
        expected, kept = [], 0
        for a, b, k, j in zip(texts, others, shares(texts, lam), shares(others, lam)):
            removed, added = len(a) - k, len(b) - j
            place = math.floor(cuts[0] * (k + 1))
            start = math.floor(cuts[1] * (j + 1))
            expected.append(a[:place] + b[start : start + added] + a[place + removed :])
            kept += k
        row, share = mix("span", own, partner, lam, cuts)
        assert row == laid_out(layout, expected)
        count = len(sum(expected, []))
        assert share == (kept / count if count else lam)
        assert len(row) <= max(len(own), len(partner))


def test_a_span_is_anywhere():
    own, partner = list(range(100, 110)), list(range(200, 210))
    numbers = np.random.RandomState(0).rand(500, 2)
    rows = {tuple(mix("span", own, partner, 0.7, cuts)[0]) for cuts in numbers}
    assert len(rows) == 8 * 8  # 3 tokens of 10: before 0 to 7 of the other 7, from 0 to 7
    assert {row[0] for row in rows} == {100, *range(200, 208)}


@pytest.mark.parametrize("kind", ["splice", "span"])
@pytest.mark.parametrize(
    "own, partner",
    [
        ([0, 10, 11, 12, 13, 14], [0, 20, 2, 21, 2]),
        ([0, 10, 2, 11, 2], [0, 20, 21, 22, 23, 24]),
        ([0, 10, 2, 11, 12, 13], [0, 20, 21, 22, 23, 24]),
    ],
)
def test_rows_that_were_truncated_give_no_longer_ones(kind, own, partner):
    for lam in np.linspace(0, 1, 23):
        row, share = mix(kind, own, partner, lam)
        assert len(row) <= mixed_length(lam, len(own), len(partner)) <= 6
        texts = [token for token in row if token > 2]
        assert share == sum(token < 20 for token in texts) / len(texts)


def test_a_separator_of_its_own_stays():
    own, partner = [0, 10, 11, 2, 9, 12, 13, 2], [0, 20, 21, 2, 9, 22, 23, 2]
    row, _ = mix("splice", own, partner, 0.5, special=(0, 2, 9))
    assert row == [0, 10, 21, 2, 9, 12, 23, 2]


def test_interpolation_leaves_the_partner():
    mixer = TokenMixer(["splice", "interpolate"], (INIT, END), PAD)
    partner = {"net_input.src_tokens": torch.tensor([0, 20, 2])}
    mixed = mixer.mix({"net_input.src_tokens": torch.tensor([0, 10, 2])}, partner, 0.4, 1, (0, 0))
    assert mixed == (partner, 0.4) and mixer.is_text.tolist() == [True, False]
