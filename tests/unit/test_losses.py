"""Losses against torch's own functions and against their mathematics."""

import math

import pytest
import torch
import torch.nn.functional as F

from mixkd_plugin.losses import (
    DISTANCES,
    binary_cross_entropy,
    cross_entropy,
    distance,
    squared_error,
)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(7, 4, dtype=torch.float64, generator=generator) for _ in range(2)]
    return draw[0].requires_grad_(), draw[1].requires_grad_()


def gradient(loss, of):
    return torch.autograd.grad(loss, of)[0]


def test_cross_entropy_of_indices_is_fairseqs(logits):
    student = logits[0].detach().float()
    targets = torch.tensor([0, 3, 2, 1, 1, 0, 2])
    fairseqs = F.nll_loss(
        F.log_softmax(student, dim=-1, dtype=torch.float32), targets, reduction="sum"
    )
    assert torch.equal(cross_entropy(student, targets), fairseqs)


def test_cross_entropy_of_soft_labels_mixes_that_of_indices(logits):
    student, _ = logits
    a, b = torch.randint(4, (2, 7), generator=torch.Generator().manual_seed(1))
    soft = 0.3 * F.one_hot(a, 4) + 0.7 * F.one_hot(b, 4)
    expected = 0.3 * cross_entropy(student, a) + 0.7 * cross_entropy(student, b)
    torch.testing.assert_close(cross_entropy(student, soft), expected)


def test_squared_error_equals_torchs(logits):
    student, target = logits
    torch.testing.assert_close(squared_error(student, target), ((student - target) ** 2).sum())


def test_binary_cross_entropy_is_torchs_mean_over_classes(logits):
    """With mixed labels, and of the chosen rows alone: a nan elsewhere reaches no gradient."""
    student, _ = logits
    targets = torch.rand(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.BCEWithLogitsLoss()(student, targets) * 7
    torch.testing.assert_close(binary_cross_entropy(student, targets), expected)
    rows = torch.tensor([True, False, True, True, False, True, True])
    some = torch.nn.BCEWithLogitsLoss()(student[rows], targets[rows]) * 5
    nan = student.detach().masked_fill(~rows[:, None], math.nan).requires_grad_()
    loss = binary_cross_entropy(nan, targets.masked_fill(~rows[:, None], math.nan), rows)
    torch.testing.assert_close(loss, some)
    torch.testing.assert_close(gradient(loss, nan), gradient(some, student))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distances_of_several_labels_are_of_each_class(logits, temperature):
    student, teacher = logits
    p, q = (torch.distributions.Bernoulli(logits=x / temperature) for x in (teacher, student))
    kl = torch.distributions.kl_divergence(p, q).mean(dim=1).sum() * temperature**2
    found = distance("kl", student, teacher, temperature, multi_label=True)
    torch.testing.assert_close(found, kl)
    entropy = p.entropy().mean(dim=1).sum() * temperature**2
    found = distance("ce", student, teacher, temperature, multi_label=True)
    torch.testing.assert_close(found, kl + entropy)
    found = distance("mse", student, teacher, multi_label=True)
    assert found == distance("mse", student, teacher)


@pytest.mark.parametrize("kind", ["mse", "kl"])
def test_distance_is_zero_at_equal_arguments_and_positive_elsewhere(kind, logits):
    student, teacher = logits
    assert distance(kind, student, student, 2.0).abs() < 1e-12
    assert distance(kind, student, teacher, 2.0) > 0.1


def test_mse_averages_over_classes_and_sums_over_rows(logits):
    student, teacher = logits
    rows = ((student - teacher) ** 2).mean(dim=1)
    torch.testing.assert_close(distance("mse", student, teacher), rows.sum())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_equals_torch_distributions(logits, temperature):
    student, teacher = logits
    p, q = (torch.distributions.Categorical(logits=x / temperature) for x in (teacher, student))
    expected = torch.distributions.kl_divergence(p, q).sum() * temperature**2
    torch.testing.assert_close(distance("kl", student, teacher, temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_ce_is_kl_plus_the_teachers_entropy_with_equal_gradients(logits, temperature):
    student, teacher = logits
    kl = distance("kl", student, teacher, temperature)
    ce = distance("ce", student, teacher, temperature)
    entropy = torch.distributions.Categorical(logits=teacher / temperature).entropy().sum()
    torch.testing.assert_close(ce, kl + entropy * temperature**2)
    torch.testing.assert_close(gradient(ce, student), gradient(kl, student))


def test_temperature_squared_keeps_the_size_of_gradients(logits):
    """For T -> infinity the scaled gradient tends to that of half the squared error of
    centred logits over C (Hinton et al. 2015, equation 4); without T squared it would vanish."""
    student, teacher = logits
    centred = [x - x.mean(dim=1, keepdim=True) for x in (student, teacher)]
    expected = (centred[0] - centred[1]).detach() / 4
    high = gradient(distance("kl", student, teacher, 1e4), student)
    torch.testing.assert_close(high, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", DISTANCES)
def test_no_gradient_reaches_the_teacher(kind, logits):
    student, teacher = logits
    distance(kind, student, teacher, 2.0).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_finite_float32_losses(kind, dtype):
    student = torch.tensor([[60.0, -60.0], [0.0, 0.0]], dtype=dtype)
    loss = distance(kind, student, -student)
    assert loss.dtype == torch.float32 and math.isfinite(loss)
    wide = distance(kind, student.float(), -student.float())
    torch.testing.assert_close(loss, wide)


def test_unknown_distance_names_what_is_allowed(logits):
    with pytest.raises(
        ValueError, match="--distill-distance must be one of mse, kl, ce.*, got other"
    ):
        distance("other", *logits)
