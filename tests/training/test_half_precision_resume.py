"""A run in half precision resumes to the last bit: from float32 copies, and its own loss scale."""

from argparse import Namespace

import inprocess
import torch
import toy
from fairseq.optim import AMPOptimizer
from fairseq.optim.sgd import SGD

from mixkd_plugin.fairseq_fixes import half_precision_state

FLAGS = ["--tmkd-weight", 0, "--max-epoch", 2, "--lr", 1e-4]


def test_a_checkpoint_without_the_copy_is_resumed_with_a_warning(tmp_path, classification):
    """One of fairseq, or of an earlier version of ours."""
    flags = toy.train_flags(classification, tmp_path, *FLAGS, "--bf16")
    inprocess.run_training([*flags, "--max-update", 3])
    with toy.edited(tmp_path / "checkpoint_last.pt") as state:
        del state["last_optimizer_state"][half_precision_state.KEY]
    log = inprocess.run_training([*flags, "--max-update", 5])
    assert "the checkpoint has no float32 copy" in log
    assert inprocess.updates(tmp_path) == 5


def test_fairseqs_own_runs_save_what_fairseq_saves(tmp_path, classification):
    extra = ["--bf16", "--max-update", 2, "--arch", "roberta", "--encoder-layers", 1]
    extra += ["--encoder-embed-dim", 16, "--encoder-attention-heads", 2]
    flags = toy.train_flags(classification, tmp_path, *extra, task="sentence_prediction")
    config = inprocess.training_config(flags)
    config.common.tpu = False  # which fairseq's command line takes --bf16 for
    inprocess.run_config(config)
    state = inprocess.checkpoint(tmp_path)["last_optimizer_state"]
    assert half_precision_state.KEY not in state


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
        half_precision_state.complete(made)
        half_precision_state.complete(made)
        return made

    saved = optimizer(512.0, 7).state_dict()
    resumed = optimizer(128.0, 0)
    resumed.load_state_dict(saved)
    assert resumed.scaler.state == {
        "scale": 512.0, "_growth_tracker": 7, "growth_interval": 2000
    }  # fmt: skip
    assert type(resumed).__name__ == "AMPOptimizer"


def test_amp_divides_gradients_by_its_scale_once():
    parameter = torch.nn.Parameter(torch.ones(2))
    made = AMPOptimizer.__new__(AMPOptimizer)
    made._grad_scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    made.fp32_optimizer = SGD(Namespace(lr=[1.0], momentum=0.0, weight_decay=0.0), [parameter])
    half_precision_state.complete(made)
    made.backward(parameter @ torch.tensor([3.0, 4.0]))
    assert made.clip_grad_norm(0) == 5
    made.step()
    assert parameter.tolist() == [-2, -3] and made.scaler.get_scale() == 128
