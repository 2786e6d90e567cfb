"""Two token types: which tokens have the second, and what becomes of it in a mix."""

import pytest
import torch
import torch.nn.functional as F
from tiny_models import HEAD, LAM, PAD, build

from mixkd_plugin.mixup import Mix
from mixkd_plugin.models.encode import encode
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.modules import packed_attention, packed_encoder
from mixkd_plugin.modules.token_types import in_second_text, number_of_types

SEPARATOR = 2
# pairs, a pair without a first or a second text, a single text, one cut off before its separator
TEXTS = [
    [0, 7, 8, 2, 9, 2],
    [0, 2, 9, 10, 2],
    [0, 7, 8, 2, 2],
    [0, 7, 2],
    [0, 7, 8],
    [0, 11, 2, 2, 9, 2],
]
TYPES = ["000011", "00111", "00001", "000", "000", "000111"]
PARTNERS = [[0, 20, 2, 21, 22, 23, 2], [0, 20, 21, 22, 23, 2, 2], [0, 20, 2], [0, 2, 20, 2],
            [0, 20, 2, 21, 2], [0, 20, 21, 22, 2, 23, 2]]  # fmt: skip


def batch(texts, width=0):
    width = max(width, *map(len, texts))
    return torch.tensor([text + [PAD] * (width - len(text)) for text in texts])


X, P = batch(TEXTS), batch(PARTNERS)


@pytest.fixture
def model():
    model = build(MixKDRobertaModel, 0, token_types=2)
    with torch.no_grad():  # as in no embedding of a token
        model.encoder.sentence_encoder.embed_tokens.types.weight += torch.tensor([[0.5], [-1.5]])
    return model


def logits(model, x=X, mix=None, padding_free=False):
    return encode(model, HEAD, x, mix, padding_free)


def test_the_second_text_begins_after_the_first_separator():
    found = in_second_text(batch(TEXTS, 9), SEPARATOR)
    for row, text, types in zip(found, TEXTS, TYPES):
        assert "".join(str(int(second)) for second in row[: len(text)]) == types


def test_an_embedding_is_that_of_the_token_plus_that_of_its_type(model):
    embed = model.encoder.sentence_encoder.embed_tokens
    for text, types, row in zip(TEXTS, TYPES, embed(X)):
        for token, second, found in zip(text, types, row):
            assert torch.equal(found, embed.weight[token] + embed.types.weight[int(second)])


def test_a_model_of_one_type_has_fairseqs_own_embedding():
    model = build(MixKDRobertaModel, 0, token_types=1)
    assert type(model.encoder.sentence_encoder.embed_tokens) is torch.nn.Embedding
    assert model.state_dict().keys() == build(MixKDRobertaModel, 0).state_dict().keys()
    assert number_of_types(model) == 1


def test_the_language_model_head_stays_tied_to_the_tokens(model):
    embed = model.encoder.sentence_encoder.embed_tokens
    assert model.encoder.lm_head.weight is embed.weight
    names = [name for name, _ in model.named_parameters() if "embed_tokens" in name]
    begin = "encoder.sentence_encoder.embed_tokens."
    assert names == [f"{begin}weight", f"{begin}types.weight"]


def test_types_change_pairs_and_no_single_texts(model):
    before = logits(model)
    with torch.no_grad():
        model.encoder.sentence_encoder.embed_tokens.types.weight[1].neg_()
    changed = (logits(model) - before).abs().amax(dim=1) > 1e-4
    assert changed.tolist() == ["1" in types for types in TYPES]


@torch.no_grad()
def by_hand(model, text, partner, lam):
    """A mix's logits, its embeddings summed position by position."""
    embed = model.encoder.sentence_encoder.embed_tokens

    def vectors(tokens, length):
        seen, rows = 0, []
        for token in tokens:
            rows.append(embed.weight[token] + embed.types.weight[min(seen, 1)])
            seen += token == SEPARATOR
        return torch.stack(rows + [torch.zeros(32)] * (length - len(tokens)))

    length = max(len(text), len(partner))
    mixed = lam * vectors(text, length) + (1 - lam) * vectors(partner, length)
    tokens = torch.tensor([text + partner[len(text) :]])
    features, _ = model.encoder.extract_features(tokens, token_embeddings=mixed[None])
    return model.classification_heads[HEAD](features)


@pytest.mark.parametrize("padding_free", [False, True])
def test_each_text_of_a_mix_has_its_own_boundary(model, padding_free):
    lam = LAM.float()
    found = logits(model, mix=Mix(P, LAM, with_clean=False), padding_free=padding_free)
    wanted = [by_hand(model, a, b, w) for a, b, w in zip(TEXTS, PARTNERS, lam)]
    torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding_free", [False, True])
def test_more_padding_changes_nothing(model, padding_free):
    wide = batch(TEXTS, 12), Mix(batch(PARTNERS, 15), LAM)
    found = logits(model, *wide, padding_free)
    torch.testing.assert_close(found, logits(model, X, Mix(P, LAM)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding_free", [False, True])
def test_lam_one_is_the_clean_text(model, padding_free):
    partners = batch([text[: len(text) - 1] for text in TEXTS])
    mix = Mix(partners, torch.ones(len(TEXTS)), with_clean=False)
    found = logits(model, mix=mix, padding_free=padding_free)
    torch.testing.assert_close(found, logits(model), rtol=1e-5, atol=1e-5)


MIXES = {
    "clean": None,
    "both": Mix(P, LAM),
    "mixed": Mix(P, LAM, with_clean=False),
    "ratio 2": Mix(torch.cat([P, P.flip(0)]), torch.cat([LAM, LAM / 2])),
}


@pytest.mark.parametrize("attention", ["grouped", "jagged"])
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_packed_equals_padded_to_every_gradient(model, mix, attention, monkeypatch):
    if attention == "jagged":
        monkeypatch.setattr(packed_encoder, "attend", packed_attention.attend_jagged)
    model, x = model.double(), F.pad(X, (0, 1), value=PAD)
    x[0, 2] = PAD  # which counts as padding, and hides no separator
    results = []
    for padding_free in (False, True):
        model.zero_grad()
        found = logits(model, x, mix, padding_free)
        (found * torch.linspace(-1, 2, found.numel()).view_as(found).to(found)).sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append((found.detach(), *gradients))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    assert model.encoder.sentence_encoder.embed_tokens.types.weight.grad.abs().min() > 0


def test_refused_values():
    for wrong in (3, "2"):
        with pytest.raises(ValueError, match=f"--token-types must be 1 or 2, got {wrong!r}"):
            build(MixKDRobertaModel, 0, token_types=wrong)
    with pytest.raises(ValueError, match="--quant-noise-scalar must be 0 with --token-types 2"):
        build(MixKDRobertaModel, 0, token_types=2, quant_noise_scalar=0.1)
