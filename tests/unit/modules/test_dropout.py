"""Our dropout against torch's: rate, scale, gradient, and what is not dropped."""

import pytest
import torch
from fairseq.modules import FairseqDropout

from mixkd_plugin.modules.dropout import apply_dropout, dropout

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 3])
def test_rate_and_mean(p):
    torch.manual_seed(1)
    x = torch.ones(400, 501)
    y = dropout(x, p)
    dropped = (y == 0).double().mean().item()
    assert dropped == pytest.approx(p, abs=5 * (p * (1 - p) / x.numel()) ** 0.5 + 2**-16)
    assert y.mean().item() == pytest.approx(1, abs=5 * (p / (1 - p) / x.numel()) ** 0.5)
    assert y.max().item() == pytest.approx(1 / (1 - p), rel=2**-12)
    assert len(y.unique()) == 2


def test_neighbours_are_independent():
    """Four elements share a random number."""
    torch.manual_seed(2)
    kept = (dropout(torch.ones(100_000, 4), 0.5) > 0).double()
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 0.02


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (0, 4)], ids=str)
def test_the_gradient_is_that_of_the_kept_elements(shape, dtype):
    x = torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()
    torch.manual_seed(3)
    y = dropout(x.transpose(0, -1), 0.25)
    assert y.dtype == dtype
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y, x.transpose(0, -1) * gradient.transpose(0, -1))
    assert {*gradient.flatten().tolist()} <= {0.0, torch.tensor(4 / 3, dtype=dtype).item()}
    torch.manual_seed(3)
    assert torch.equal(dropout(x.transpose(0, -1), 0.25), y)


def test_rates_of_0_and_1():
    x = torch.randn(5, 4)
    assert dropout(x, 0.0) is x
    assert not dropout(x, 1.0).any()
    assert torch.equal(dropout(x, 1e-9), x)  # torch's


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_other_rates_are_refused(p):
    with pytest.raises(ValueError, match=f"has to be between 0 and 1, but got {p}"):
        dropout(torch.ones(3), p)


def test_modules_of_fairseq_and_others():
    x = torch.ones(1000)
    module = FairseqDropout(0.5)
    assert (apply_dropout(module, x) == 0).any()
    assert apply_dropout(module.eval(), x) is x
    module.apply_during_inference = True
    assert (apply_dropout(module, x) == 0).any()
    assert torch.equal(apply_dropout(torch.nn.Softmax(dim=0), x), x.softmax(0))
