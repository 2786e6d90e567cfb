"""Settings of a checkpoint whose model is another package's: read, or refused by one sentence."""

import argparse
import random
from dataclasses import dataclass

import inprocess
import numpy as np
import pytest
import torch
import toy
from fairseq.dataclass import FairseqDataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.roberta import RobertaEncoder, RobertaModel, base_architecture
from refusals import FINE_TUNE, KD, accepts, assert_matches, one_sentence, refusal
from taught import with_settings
from torch import nn
from toy import HEAD

from mixkd_plugin import MixupModel
from mixkd_plugin.checkpoints import outputs
from mixkd_plugin.tools import scoring


@dataclass
class DrawnConfig(FairseqDataclass):
    width: int = 8
    note: str = "a"
    encoder_attention_heads: int = 2


@register_model("drawn", dataclass=DrawnConfig)
class Drawn(MixupModel):
    """Has a buffer of random numbers that no checkpoint holds."""

    def __init__(self, cfg, dictionary):
        super().__init__(nn.Embedding(len(dictionary), cfg.width, dictionary.pad()), cfg.width)
        self.register_buffer("noise", torch.randn(cfg.width), persistent=False)

    @classmethod
    def build_model(cls, cfg, task):
        random.random()
        np.random.rand()
        return cls(cfg, task.source_dictionary)

    def features(self, embeddings, real):
        return embeddings.sum(1) + self.noise


@register_model("tabled", dataclass=DrawnConfig)
class Tabled(Drawn):
    """Has a large table that no checkpoint holds, as of relative positions."""

    def __init__(self, cfg, dictionary):
        super().__init__(cfg, dictionary)
        self.register_buffer("table", torch.zeros(2048, 2048), persistent=False)


def test_a_large_buffer_is_no_reason_to_refuse_a_model(tmp_path, classification, teacher, words):
    path = drawn(tmp_path / "t.pt", teacher, words, _name="tabled")
    assert scoring.load(path, str(classification)).model.table.numel() == 2048**2


def test_a_run_of_a_model_without_args_resumes(tmp_path, classification):
    """Its settings are those of the run's configuration."""
    flags = [*FINE_TUNE, "--arch", "drawn"]
    for updates in (1, 2):
        toy.fit(classification, tmp_path, *flags, "--max-update", updates)
        last = inprocess.checkpoint(tmp_path)["optimizer_history"][-1]
        assert last["num_updates"] == updates
    message = refusal(classification, tmp_path, *flags, "--encoder-attention-heads", 4)
    assert "--encoder-attention-heads must be 2" in message and "got 4" in message


def drawn(path, source, words, **settings):
    with toy.edited(source, path) as state:
        model = Drawn(DrawnConfig(), words.source_dictionary)
        model.register_classification_head(HEAD, 2)
        state["cfg"]["model"] = {"_name": "drawn", "width": 8, "note": "a", **settings}
        state["model"] = model.state_dict()
    return str(path)


def test_random_buffers_are_drawn_and_training_notices_nothing(
    tmp_path, classification, teacher, words
):
    path = drawn(tmp_path / "t.pt", teacher, words)
    draws = [torch.rand, np.random.rand, random.random]
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    model = scoring.load(path, str(classification)).model
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all() and random.getstate() == states[2]
    assert model.noise.std() > 0.1
    for draw in draws:
        draw(1) if draw is not random.random else draw()
    assert torch.equal(scoring.load(path, str(classification)).model.noise, model.noise)
    accepts(classification, tmp_path / "s", *KD, "--teacher-path", path)


@pytest.mark.parametrize(
    "settings",
    [
        dict(width=10**9),
        dict(width=100_000),
        dict(width="${oc.env:HOME}"),
        dict(width=[8]),
        dict(note="${oc.env:HOME}"),
        dict(note="__import__('os').mkdir('x')"),
    ],
)
def test_settings_of_a_model_of_ones_own(tmp_path, classification, teacher, words, settings):
    path = drawn(tmp_path / "t.pt", teacher, words, **settings)
    one_sentence(lambda: scoring.load(path, str(classification)))


def test_a_model_of_ones_own_keeps_its_settings(tmp_path, classification, teacher, words):
    loaded = scoring.load(drawn(tmp_path / "t.pt", teacher, words), str(classification))
    assert outputs.heads_of(loaded.model.state_dict()) == {HEAD: 2}


@register_model("by_flags")
class ByFlags(Drawn):
    """Its flags have names of RoBERTa's, and one whose default is the architecture's."""

    @staticmethod
    def add_args(parser):
        parser.add_argument("--encoder-embed-dim", type=int)
        parser.add_argument("--activation-fn", default="relu")
        parser.add_argument("--longest", type=int, default=10**12)

    @classmethod
    def build_model(cls, cfg, task):
        model = cls(argparse.Namespace(width=cfg.encoder_embed_dim), task.source_dictionary)
        model.settings = cfg
        return model


@register_model_architecture("by_flags", "by_flags")
def by_flags(args):
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 8)
    args.late = getattr(args, "late", 3)


def test_flags_of_a_model_of_ones_own(tmp_path, classification, teacher, words):
    settings = dict(_name="by_flags", activation_fn="tanh", longest=10**12)
    path = drawn(tmp_path / "t.pt", teacher, words, **settings)
    found = scoring.load(path, str(classification)).model.settings
    assert found.activation_fn == "tanh" and found.longest == 10**12
    assert found.encoder_embed_dim == 8 and found.late == 3


@register_model("own_forward")
class OwnForward(RobertaModel):
    def forward(self, *args, **kwargs):
        logits, extra = super().forward(*args, **kwargs)
        return 3 * logits, extra


class OwnEncoder(RobertaEncoder):
    def forward(self, *args, **kwargs):
        features, extra = super().forward(*args, **kwargs)
        return 3 * features, extra


@register_model("own_encoder")
class WithOwnEncoder(RobertaModel):
    def __init__(self, args, encoder):
        super().__init__(args, OwnEncoder(args, encoder.dictionary))


@register_model("own_name")
class OwnName(RobertaModel):
    """Computes nothing of its own."""


for _name in ("own_forward", "own_encoder", "own_name"):
    register_model_architecture(_name, _name)(base_architecture)


@pytest.mark.parametrize("name, part", [("own_forward", "OwnForward"), ("own_encoder", "OwnEnc")])
def test_a_teacher_whose_own_forward_takes_no_mixes(tmp_path, classification, teacher, name, part):
    path = with_settings(tmp_path / "t.pt", teacher, "model", _name=name)
    said = refusal(classification, tmp_path / "s", *KD, "--teacher-path", path)
    assert_matches(f"--teacher-path .*t.pt: it must take mixes.* {part}", said)


def test_a_teacher_whose_class_changes_no_forward(tmp_path, classification, teacher):
    path = with_settings(tmp_path / "t.pt", teacher, "model", _name="own_name")
    accepts(classification, tmp_path / "s", *KD, "--teacher-path", path)
