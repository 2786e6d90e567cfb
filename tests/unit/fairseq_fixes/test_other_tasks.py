"""Runs and tools of fairseq that have nothing to do with our tasks are as without this package."""

import importlib
import re
from pathlib import Path
from unittest import mock

import inprocess
import pytest
import torch
import toy
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.logging import metrics
from fairseq.models import distributed_fairseq_model
from fairseq.trainer import Trainer
from omegaconf import OmegaConf
from same_end import assert_same_end

from mixkd_plugin.fairseq_fixes import apply, atomic_save, launch

LOADED = {"train_iterator": {"epoch": 2, "iterations_in_epoch": 0}, "best": 1.5, "val_loss": 2.0}


def checkpoint_flags(folder):
    resets = ("dataloader", "meters", "optimizer", "lr_scheduler")
    flags = {f"reset_{what}": False for what in resets}
    flags.update(save_dir=str(folder), restore_file="checkpoint_last.pt", optimizer_overrides="{}")
    flags.update(finetune_from_model=None, maximize_best_checkpoint_metric=False, no_save=False)
    return OmegaConf.create(flags)


def other_trainer(task):
    """One without the numbers that real ones have."""
    trainer = mock.Mock(spec=["load_checkpoint", "get_train_iterator", "lr_step", "task"])
    trainer.load_checkpoint.return_value = dict(LOADED)
    trainer.checkpoint_suffix = ""
    trainer.task = task
    return trainer


@pytest.mark.parametrize("task", [mock.MagicMock(), object(), None])
def test_loading_is_fairseqs(tmp_path, monkeypatch, task):
    monkeypatch.setattr(checkpoint_utils.save_checkpoint, "best", 0.5, raising=False)
    active = metrics._active_aggregators["default"]
    trainer = other_trainer(task)
    extra_state, _ = checkpoint_utils.load_checkpoint(checkpoint_flags(tmp_path), trainer)
    assert extra_state == LOADED
    assert checkpoint_utils.save_checkpoint.best == 1.5  # of the checkpoint, as fairseq has it
    assert [call[0] for call in trainer.method_calls if not call[0].startswith("task")] == [
        "load_checkpoint", "get_train_iterator", "lr_step"
    ]  # fmt: skip
    assert metrics._active_aggregators["default"] is active


def test_saving_is_fairseqs(tmp_path):
    """With our task in between it would be another way of writing."""
    inside = []

    def save(path, extra_state):
        inside.append(atomic_save._saving.get())
        Path(path).touch()

    trainer = mock.Mock(task=object(), checkpoint_suffix="", data_parallel_rank=0)
    trainer.get_num_updates.return_value = 3
    trainer.save_checkpoint.side_effect = save
    cfg = OmegaConf.structured(CheckpointConfig(save_dir=str(tmp_path)))
    checkpoint_utils.save_checkpoint(cfg, trainer, mock.MagicMock(epoch=1), None)
    assert inside == [False] and (tmp_path / "checkpoint_last.pt").exists()


def test_a_process_that_fairseq_does_not_start_is_none_of_ours():
    """What fairseq does of another task's flags, and of none, is its own."""
    cfg = OmegaConf.create(
        {"task": None, "common": {"tpu": True, "bf16": True}, "checkpoint": {}}
    )  # fmt: skip
    called = []
    launch.call_main(lambda *args: called.append(args), cfg, print)
    assert called == [(cfg, print)] and cfg.common.tpu


def test_imported_again_it_replaces_nothing_twice():
    places = [
        (checkpoint_utils, "load_checkpoint"), (checkpoint_utils, "save_checkpoint"),
        (distributed_utils, "call_main"), (distributed_utils, "distributed_init"),
        (distributed_utils, "all_gather_list"), (Trainer, "load_checkpoint"),
        (Trainer, "_build_optimizer"), (PathManager, "copy"),
        (checkpoint_utils, "torch_persistent_save"),
        (distributed_fairseq_model, "DistributedDataParallel"),
    ]  # fmt: skip
    before = [getattr(owner, name) for owner, name in places]
    importlib.reload(apply)
    assert all(getattr(o, n) is function for (o, n), function in zip(places, before))


TIMES = re.compile(r"(wps|ups|wall|train_wall) [\d.]+|, (wps|ups|wall|train_wall)=[\d.]+")


def figures(log):
    lines = [line.split(" | ", 2) for line in log.splitlines() if line.count(" | ") > 2]
    return [TIMES.sub("", text) for _, _, text in lines if re.search(r"\bloss[ =]", text)]


@pytest.mark.slow
def test_a_translation_is_the_same_with_the_plugin_and_without(tmp_path):
    """Killed and resumed in the middle of an epoch, where most of ours would act."""
    for split, size in {"train": 60, "valid": 16}.items():
        for language in "ab":
            texts = [text for text, _ in toy.sentences(size, seed=1)]
            (tmp_path / f"{split}.{language}").write_text("\n".join(texts) + "\n")
    inprocess.preprocess(
        "--source-lang", "a", "--target-lang", "b", "--trainpref", tmp_path / "train",
        "--validpref", tmp_path / "valid", "--destdir", tmp_path / "data", "--workers", 1,
    )  # fmt: skip

    def run(name, *extra):
        return [
            tmp_path / "data", "--cpu", "--task", "translation", "--arch", "transformer_tiny",
            "--optimizer", "adam", "--lr", 0.002, "--max-sentences", 8, "--num-workers", 0,
            "--log-format", "simple", "--log-interval", 1, "--save-dir", tmp_path / name,
            "--no-epoch-checkpoints", "--patience", 5, *extra,
        ]  # fmt: skip

    logs = {"without": "", "with": ""}
    for updates in (5, 12):
        flags = run("without", "--max-update", updates)
        logs["without"] += toy.run_together(("plain_train", *flags))[0]
        flags = run("with", "--max-update", updates, "--user-dir", toy.PLUGIN)
        logs["with"] += toy.run_module("fairseq_cli.train", *flags).stdout
    assert len(figures(logs["with"])) > 12
    assert figures(logs["with"]) == figures(logs["without"])
    assert_same_end(tmp_path / "without", tmp_path / "with")
    assert torch.load(tmp_path / "with" / "checkpoint_last.pt")["task_state"] == {}
