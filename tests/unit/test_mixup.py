"""Mixing of embeddings and targets as pure functions."""

import pytest
import torch

from mixkd_plugin.mixup import Mix, mix_embeddings, mix_targets, stack_rows

PAD = 1


@pytest.fixture
def embed():
    torch.manual_seed(0)
    layer = torch.nn.Embedding(20, 6, padding_idx=PAD)
    layer.weight.data[PAD] = float("nan")  # a pre-trained row need not be zero
    return layer


def rows(*texts):
    width = max(map(len, texts))
    return torch.tensor([list(t) + [PAD] * (width - len(t)) for t in texts])


def test_mixed_rows_interpolate_position_by_position(embed):
    tokens, partners = rows([0, 5, 6, 2], [0, 7, 2]), rows([0, 8, 2], [0, 9, 10, 11, 2])
    lam = torch.tensor([0.25, 0.6], dtype=torch.float64)
    union, mixed = stack_rows(embed, tokens, Mix(partners, lam), with_clean=False)
    e = embed.weight
    assert union.tolist() == [[0, 5, 6, 2, PAD], [0, 7, 2, 11, 2]]
    torch.testing.assert_close(mixed[0, 1], 0.25 * e[5] + 0.75 * e[8])
    torch.testing.assert_close(mixed[0, 3], 0.25 * e[2])  # the partner has ended: zero vector
    torch.testing.assert_close(mixed[1, 4], 0.4 * e[2], rtol=1e-6, atol=1e-7)
    assert torch.equal(mixed[0, 4], torch.zeros(6))


def test_rows_are_clean_then_mixed_and_row_m_mixes_example_m_modulo_b(embed):
    tokens = rows([0, 5, 2], [0, 6, 2])
    partners = rows([0, 7, 2], [0, 8, 2], [0, 9, 2], [0, 10, 2])
    lam = torch.full((4,), 0.5)
    ids, vectors = stack_rows(embed, tokens, Mix(partners, lam))
    assert ids.tolist() == (tokens.tolist() * 3)
    middle = vectors[:, 1]
    torch.testing.assert_close(middle[:2], embed.weight[[5, 6]])
    expected = (embed.weight[[5, 6, 5, 6]] + embed.weight[[7, 8, 9, 10]]) / 2
    torch.testing.assert_close(middle[2:], expected)


def test_lam_is_the_weight_of_the_example_and_swapping_both_changes_nothing(embed):
    a, b = rows([0, 5, 6, 7, 2]), rows([0, 8, 2])
    lam = torch.tensor([0.3], dtype=torch.float64)
    ids, ab = stack_rows(embed, a, Mix(b, lam), with_clean=False)
    _, ba = stack_rows(embed, b, Mix(a, 1 - lam), with_clean=False)
    torch.testing.assert_close(ab, ba)
    _, ones = stack_rows(embed, a, Mix(b, torch.ones(1)), with_clean=False)
    assert torch.equal(ones, embed(a))
    assert torch.equal(ids, a)


def test_gradient_reaches_both_texts_in_proportion(embed):
    a, b = rows([0, 5, 2]), rows([0, 8, 2])
    stack_rows(embed, a, Mix(b, torch.tensor([0.25])), with_clean=False)[1].sum().backward()
    grad = embed.weight.grad[:, 0]
    assert grad[5] == 0.25 and grad[8] == 0.75 and grad[0] == 1.0 and grad[PAD] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_mixing_is_computed_in_float32_or_wider(dtype):
    torch.manual_seed(0)
    e, f = torch.randn(2, 3, 4, 5, dtype=torch.float64).to(dtype)
    real = torch.ones(3, 4, dtype=torch.bool)
    lam = torch.tensor([1 / 3, 0.1234567, 0.9], dtype=torch.float64)
    mixed = mix_embeddings(e, f, real, real, lam)
    exact = lam[:, None, None] * e.double() + (1 - lam[:, None, None]) * f.double()
    assert mixed.dtype == dtype
    # one rounding at the end: at most half a unit in the last place off
    bound = exact.abs() * torch.finfo(dtype).eps / 2 + 1e-7 * (dtype != torch.float64)
    assert ((mixed.double() - exact).abs() <= bound + 1e-15).all()


def test_targets_mix_as_one_hot_rows_or_as_values():
    lam = torch.tensor([0.25, 1.0, 0.5, 0.0], dtype=torch.float64)
    mixed = mix_targets(torch.tensor([2, 0]), torch.tensor([1, 1, 2, 2]), lam, num_classes=3)
    expected = [[0, 0.75, 0.25], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    torch.testing.assert_close(mixed, torch.tensor(expected))
    torch.testing.assert_close(mixed.sum(1), torch.ones(4))
    values = mix_targets(torch.tensor([[4.0], [0.0]]), torch.tensor([[0.0]] * 4), lam)
    torch.testing.assert_close(values, torch.tensor([[1.0], [0.0], [2.0], [0.0]]))
