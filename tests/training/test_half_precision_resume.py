"""A run in half precision resumes to the last bit: from float32 copies, and its own loss scale."""

import inprocess
import pytest
import torch
import toy
from fairseq.optim import AMPOptimizer
from same_end import assert_same_end

from mixkd_plugin.fairseq_fixes import optimizer_state

FLAGS = ["--tmkd-weight", 0, "--max-epoch", 2, "--lr", 1e-4]
FP16 = ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale", 4, "--fp16-scale-window", 4]
PRECISIONS = {
    "bf16": ["--bf16"],
    "fp16": FP16,
    "memory-efficient-bf16": ["--memory-efficient-bf16"],
    "memory-efficient-fp16": ["--memory-efficient-fp16", *FP16[1:]],
}


def stopped(flags, updates):
    def stop(trainer, _):
        if trainer.get_num_updates() == updates:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inprocess.run_training(flags, stop)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resumes_to_the_last_bit(tmp_path, classification, precision):
    """Stopped after the checkpoint of 5 updates: the loss scale is next raised after 3 more."""
    extra = [*FLAGS, *PRECISIONS[precision], "--save-interval-updates", 5]
    straight = toy.train_flags(classification, tmp_path / "straight", *extra)
    parts = toy.train_flags(classification, tmp_path / "parts", *extra)
    inprocess.run_training(straight)
    stopped(parts, 6)
    log = inprocess.run_training(parts)
    assert "@ 5 updates" in log and "to the last bit" not in log
    assert_same_end(tmp_path / "straight", tmp_path / "parts")
    one, other = (inprocess.checkpoint(tmp_path / f) for f in ("straight", "parts"))
    kept, again = (s["last_optimizer_state"][optimizer_state.KEY] for s in (one, other))
    assert kept["scaler"] == again["scaler"]
    if "memory" not in precision:
        rounded = [v for k, v in one["model"].items() if k.endswith("out_proj.weight")]
        assert all(torch.equal(a, b) for a, b in zip(kept["parameters"], again["parameters"]))
        assert {p.dtype for p in kept["parameters"]} == {torch.float32} and rounded


@pytest.mark.slow
def test_two_processes_resume_to_the_last_bit(tmp_path, classification):
    """The first one reads, and sends the others the copy, too."""
    flags = [*FLAGS, "--bf16", "--batch-size", 8]
    straight = toy.train_flags(classification, tmp_path / "straight", *flags)
    toy.two_processes("fairseq_cli.train", straight)
    parts = toy.train_flags(classification, tmp_path / "parts", *flags)
    toy.two_processes("fairseq_cli.train", [*parts, "--max-update", 5])
    toy.two_processes("fairseq_cli.train", parts)
    assert_same_end(tmp_path / "straight", tmp_path / "parts")


def test_a_checkpoint_without_the_copy_is_resumed_with_a_warning(tmp_path, classification):
    """One of fairseq, or of an earlier version of ours."""
    flags = toy.train_flags(classification, tmp_path, *FLAGS, "--bf16")
    inprocess.run_training([*flags, "--max-update", 3])
    state = inprocess.checkpoint(tmp_path)
    del state["last_optimizer_state"][optimizer_state.KEY]
    torch.save(state, tmp_path / "checkpoint_last.pt")
    log = inprocess.run_training([*flags, "--max-update", 5])
    assert "the checkpoint has no float32 copy" in log
    assert inprocess.checkpoint(tmp_path)["optimizer_history"][-1]["num_updates"] == 5


def test_fairseqs_own_runs_save_what_fairseq_saves(tmp_path, classification):
    extra = ["--bf16", "--max-update", 2, "--arch", "roberta", "--encoder-layers", 1]
    extra += ["--encoder-embed-dim", 16, "--encoder-attention-heads", 2]
    flags = toy.train_flags(classification, tmp_path, *extra, task="sentence_prediction")
    config = inprocess.training_config(flags)
    config.common.tpu = False  # which fairseq's command line takes --bf16 for
    inprocess.run_config(config)
    state = inprocess.checkpoint(tmp_path)["last_optimizer_state"]
    assert optimizer_state.KEY not in state


class _Scaler:
    """torch's GradScaler needs a GPU to do anything."""

    def __init__(self, scale, growth):
        self.state = {"scale": scale, "_growth_tracker": growth, "growth_interval": 2000}

    def is_enabled(self):
        return True

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state = dict(state)


def test_the_loss_scale_of_amp(monkeypatch):
    def optimizer(scale, growth):
        made = AMPOptimizer.__new__(AMPOptimizer)
        parameter = torch.nn.Parameter(torch.ones(2))
        made._grad_scaler = _Scaler(scale, growth)
        made.fp32_optimizer = type("Of", (), {"optimizer": torch.optim.SGD([parameter], lr=1.0)})
        optimizer_state.complete(made)
        optimizer_state.complete(made)
        return made

    saved = optimizer(512.0, 7).state_dict()
    resumed = optimizer(128.0, 0)
    resumed.load_state_dict(saved)
    assert resumed.scaler.state == {
        "scale": 512.0, "_growth_tracker": 7, "growth_interval": 2000
    }  # fmt: skip
    assert type(resumed).__name__ == "AMPOptimizer"
