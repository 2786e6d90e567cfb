"""Tiny models, rows of tokens for them, and a checkpoint as fairseq saves one."""

import argparse
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY

PAD = 1
HEAD = "head"


def dictionary_with(symbols):
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary


def build(cls, seed, pad_row=0.0, words=30, **settings):
    """A tiny model of its own random weights, with a vocabulary of so many words."""
    dictionary = dictionary_with(f"w{i}" for i in range(words))
    args = Namespace(max_positions=32, **settings)
    ARCH_CONFIG_REGISTRY["mixkd_tiny"](args)
    args.encoder_layerdrop = 0.0
    torch.manual_seed(seed)
    model = cls.build_model(args, Namespace(source_dictionary=dictionary))
    model.register_classification_head(HEAD, num_classes=3)
    for parameter in model.parameters():  # fairseq's initial values are too small to tell apart
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.encoder.sentence_encoder.embed_tokens.weight.data[PAD] = pad_row
    return model.eval()


def rows(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in zip(tokens, lengths):
        row[:length] = torch.randint(4, 34, (length,), generator=generator)
        row[0], row[length - 1] = 0, 2
    return tokens


X, PARTNERS = rows(6, 9, 4), rows(8, 3, 9, 5, 9, 2, seed=1)
LAM = torch.tensor([0.3, 0.8, 0.5, 0.1, 0.9, 0.6], dtype=torch.float64)


def checkpoint(**changes):
    """What fairseq's trainer saves, small."""
    model = argparse.Namespace(_name="roberta", encoder_layers=2, data="here")
    state = {
        "args": None,
        "cfg": {"model": model, "task": {"_name": "sentence_prediction", "data": "here"}},
        "model": OrderedDict(weight=torch.arange(6.0).view(2, 3), half=torch.ones(2).half()),
        "criterion": None,
        "optimizer_history": [{"criterion_name": "X", "num_updates": 3, "lr_scheduler_state": {}}],
        "task_state": {},
        "extra_state": {"val_loss": np.float64(0.5), "train_iterator": {"epoch": 2}},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []},
    }
    return {**state, **changes}


def save(model, path, task_state=None, **args):
    """Save a RoBERTa as fairseq's pre-training does."""
    state = {
        "args": Namespace(**{"arch": "roberta", **args, "task": "masked_lm", "data": ""}),
        "task_state": task_state or {},
        "model": model.state_dict(),
        "optimizer_history": [
            {"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}
        ],
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    torch.save(state, path)
    return str(path)
