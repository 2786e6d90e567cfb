"""Runs with a teacher, what it was asked, the files of its cache, and others' data and layouts."""

import argparse
import re

import numpy as np
import torch
import toy
from fairseq.meters import AverageMeter, StopwatchMeter, TimeMeter

BASE = ["--kd-weight", 1, "--max-epoch", 3, "--mixup-ratio", 2, "--batch-size", 40]


def run(data, folder, teacher, *flags, watcher=lambda *_: None):
    return toy.fit(data, folder, *BASE, "--teacher-path", teacher, *flags, watcher=watcher)


def totals(asked):
    return tuple(sum(column) for column in zip(*asked))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def of_data(path, source, data):
    """A checkpoint that says it was trained on this folder, and nothing of what was there."""
    with toy.edited(source, path) as state:
        state["cfg"]["task"]["data"] = str(data)
        state["task_state"] = {}
    return path


def with_settings(path, source, section, **settings):
    """A copy of a checkpoint, as if it was trained with other ones."""
    with toy.edited(source, path) as state:
        part = state["cfg"][section]
        (vars(part) if section == "model" else part).update(settings)
    return path


def of_few_positions(path, source, count):
    """A checkpoint whose model takes so many tokens."""
    with toy.edited(source, path) as state:
        state["cfg"]["task"]["max_positions"] = state["cfg"]["model"].max_positions = count
        name = "encoder.sentence_encoder.embed_positions.weight"
        state["model"][name] = state["model"][name][: count + 2].clone()
    return path


def retrain(path):
    """The same shapes and settings, another bias."""
    with toy.edited(path) as state:
        state["model"]["classification_heads.sentence_classification_head.out_proj.bias"] += 1


def another_token(data):
    """Change the first token of a folder's training texts."""
    path = data / "input0" / "train.bin"
    tokens = np.fromfile(path, dtype=np.uint16)
    tokens[0] = 4 + (tokens[0] - 3) % 40
    tokens.tofile(path)


def turn_symbols(data, name="input0"):
    """Exchange the first two symbols of a folder's dictionary."""
    path = data / name / "dict.txt"
    first, second, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([second, first, *others]))


def names_of_2019(weights):
    """As in roberta.base and roberta.large: a "decoder", and query, key and value in one matrix."""
    old = {
        re.sub("^encoder.", "decoder.", name).replace("layernorm_embedding", "emb_layer_norm"): w
        for name, w in weights.items()
    }
    for name in [name for name in old if ".q_proj." in name]:
        parts = [old.pop(name.replace(".q_proj.", f".{x}_proj.")) for x in "qkv"]
        old[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    return old


def flat(state, **settings):
    """The settings of before fairseq 0.11, which has all of them in one namespace."""
    values = {**vars(state["cfg"]["model"]), **state["cfg"]["task"]}
    values.update(arch="roberta_base", task="sentence_prediction", criterion="masked_lm")
    values.update(settings)
    return argparse.Namespace(**{k: v for k, v in values.items() if k != "_name"})


def published(state, names, **settings):
    meters = {"train_loss": AverageMeter(), "wps": TimeMeter(), "wall": StopwatchMeter()}
    extra = {"train_iterator": {"epoch": 1}, "val_loss": 1.0, "train_meters": meters}
    return {"args": flat(state, **settings), "model": names, "extra_state": extra}
