"""torch's AdamW as an optimizer of fairseq: its updates are those of fairseq's Adam."""

import re

import inprocess
import pytest
import torch
import toy
from fairseq.optim import MemoryEfficientFP16Optimizer
from fairseq.optim.adam import Adam
from refusals import assert_matches, refusal

from mixkd_plugin.optim.torch_adamw import TorchAdamW, TorchAdamWConfig

SETTINGS = {"betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1}


def config(**more):
    return TorchAdamWConfig(adam_betas="(0.9, 0.98)", weight_decay=0.1, lr=[0.01], **more)


def test_the_updates_are_those_of_fairseqs_adam():
    torch.manual_seed(0)
    start, gradients = torch.randn(50), torch.randn(20, 50)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = TorchAdamW(config(), [ours]).optimizer, Adam([theirs], lr=0.01, **SETTINGS)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert (ours - start).abs().min() > 0


def test_a_resumed_run_takes_rate_and_decay_from_its_flags():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = TorchAdamW(config(), [parameter])
    optimizer.load_state_dict(
        TorchAdamW(TorchAdamWConfig(lr=[9.0]), [parameter]).state_dict(), optimizer.optimizer_config
    )
    (group,) = optimizer.param_groups
    assert {**SETTINGS, "lr": 0.01}.items() <= group.items()


@pytest.mark.parametrize("betas", ["0.9", "(0.9,)", "(0.9, 0.98, 1)", "none", "(0.9", "('a', 1)"])
def test_other_betas_are_refused(betas):
    with pytest.raises(ValueError, match=f"--adam-betas must be two .* got {re.escape(betas)}"):
        TorchAdamW(
            TorchAdamWConfig(adam_betas=betas, lr=[0.01]), [torch.nn.Parameter(torch.ones(2))]
        )


def test_a_step_that_became_a_number_counts_on():
    """fairscale's FSDP makes it one, in the live state, whenever a checkpoint is saved."""
    torch.manual_seed(0)
    start, gradients = torch.randn(50), torch.randn(6, 50)
    changed, usual = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [TorchAdamW(config(), [p]) for p in (changed, usual)]
    for gradient in gradients:
        for parameter, optimizer in zip((changed, usual), optimizers):
            parameter.grad = gradient.clone()
            optimizer.step()
        for state in optimizers[0].optimizer.state.values():
            state["step"] = state["step"].item()
    assert torch.equal(changed, usual)


def test_a_state_of_another_type_becomes_the_parameters():
    """Beside fully sharded parameters fairseq would keep a file's state as it is, on the CPU."""
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    config_of_run = inprocess.training_config(toy.train_flags("unused", "unused", "--fp16"))
    inner = TorchAdamW(config(), [parameter])
    optimizer = MemoryEfficientFP16Optimizer(config_of_run, [], inner, allow_unsupported=True)
    inner.step()
    saved = optimizer.state_dict()
    (values,) = saved["state"].values()
    values["exp_avg"] = values["exp_avg"].double()
    optimizer.load_state_dict(saved)
    assert inner.optimizer.state[parameter]["exp_avg"].dtype == torch.float32
    inner.step()


@pytest.mark.parametrize("flag", ["--memory-efficient-bf16", "--memory-efficient-fp16"])
def test_parameters_without_a_float32_copy_are_refused(tmp_path, classification, flag):
    message = refusal(classification, tmp_path, "--optimizer", "torch_adamw", flag)
    assert_matches("(?i)unsupported optimizer.*TorchAdamW", message)
