"""Runs that ended stay ended, and patience counts over a restart."""

import math

import inprocess
import pytest
import torch
import toy
from fairseq_cli import train
from inprocess import updates
from same_end import assert_same_end

from mixkd_plugin.checkpoints import recovery

STILL = ["--tmkd-weight", 0, "--lr", 0, "--max-epoch", 9]  # no validation is better than the first


def test_patience_counts_over_a_restart_and_ends_for_good(tmp_path, classification):
    """Seven updates an epoch; the second, third and fourth validations are no better."""
    flags = toy.train_flags(classification, tmp_path, *STILL, "--patience", 3)
    inprocess.run_until(15, flags)
    log = inprocess.run_training(flags)
    assert "early stop since valid performance hasn't improved for last 3 runs" in log
    assert updates(tmp_path) == 4 * 7
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    log = inprocess.run_training(flags)
    assert "--patience 3 was reached: 3 validations without an improvement" in log
    assert "| train_inner |" not in log and "done training" in log
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before
    log = inprocess.run_training([*flags, "--patience", 5])  # and two more
    assert updates(tmp_path) == 6 * 7
    log = inprocess.run_training([*flags, "--patience", 5, "--reset-meters", "--max-epoch", 7])
    assert updates(tmp_path) == 7 * 7  # who resets the meters forgets the best score, too


@pytest.mark.parametrize("more", [[], ["--save-interval", 2]], ids=["", "not saved"])
def test_a_score_that_is_no_number_is_none(tmp_path, classification, monkeypatch, more):
    """A correlation with equal predictions is nan, which fairseq would keep as the best score."""
    given, stats = iter([math.nan, 90.0, math.nan, 50.0]), train.get_valid_stats

    def get_valid_stats(*args):
        return {**stats(*args), "accuracy": next(given)}

    monkeypatch.setattr(train, "get_valid_stats", get_valid_stats)
    flags = ["--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"]
    flags += [*STILL, "--patience", 9, "--max-epoch", 4, *more]
    toy.fit(classification, tmp_path, *flags)
    best = torch.load(tmp_path / "checkpoint_best.pt")
    assert best["extra_state"]["val_loss"] == 90 and updates(tmp_path) == 4 * 7
    noted = inprocess.checkpoint(tmp_path)["task_state"]["patience"]
    assert noted == {"best": 90, "num_runs": 2}


@pytest.mark.slow
def test_patience_counts_over_a_restart_where_each_process_has_a_file(tmp_path, classification):
    pytest.importorskip("fairscale")
    flags = toy.train_flags(
        classification, tmp_path, *STILL, "--patience", 3, "--use-sharded-state"
    )
    for epochs in (2, 9):
        run = [*flags, "--max-epoch", epochs]
        toy.processes(2, "fully_sharded_train", run, backend="fully_sharded")
    assert updates(tmp_path, "checkpoint_last-shard1.pt") == 4 * 4


def test_a_run_of_sharded_files_begins_from_its_own(tmp_path, classification):
    flags = toy.train_flags(classification, tmp_path, *STILL, "--max-update", 1)
    config = inprocess.training_config(
        [*flags, "--ddp-backend", "fully_sharded", "--use-sharded-state"]
    )
    assert recovery.find_on_every_rank(config) is None
    inprocess.run_training(flags)
    last = (tmp_path / "checkpoint_last.pt").rename(tmp_path / "checkpoint_last-shard0.pt")
    assert recovery.find_on_every_rank(config).path == str(last)
    last.rename(tmp_path / "checkpoint1-shard0.pt")
    last.write_bytes(b"cut")
    (tmp_path / "checkpoint_best.pt").unlink()
    with pytest.raises(ValueError, match=r"--restore-file \S+/checkpoint1.pt once"):
        recovery.find_on_every_rank(config)


def test_the_patience_of_a_schedule_counts_over_a_restart(tmp_path, classification):
    """Nothing satisfies it: it halves the learning rate after epochs 2 and 4."""
    plateau = ["--lr-scheduler", "reduce_lr_on_plateau", "--lr-shrink", 0.5, "--lr-patience", 1]
    flags = [*STILL[:2], *plateau, "--lr-threshold", 1, "--max-epoch", 5, "--batch-size", 40]
    toy.fit(classification, tmp_path / "straight", *flags)
    parts = toy.train_flags(classification, tmp_path / "parts", *flags)
    for done in (3, 9):  # after epochs 1 and 3
        inprocess.run_until(done, parts)
    inprocess.run_training(parts)
    assert_same_end(tmp_path / "straight", tmp_path / "parts")
    state = inprocess.checkpoint(tmp_path / "parts")
    assert state["last_optimizer_state"]["param_groups"][0]["lr"] == 0.0005


def test_patience_without_the_optimizers_state(tmp_path, classification):
    flags = [*STILL, "--patience", 1, "--no-save-optimizer-state"]
    flags = toy.train_flags(classification, tmp_path, *flags)
    inprocess.run_training(flags)
    assert updates(tmp_path) == 2 * 7
    assert "the run is finished" in inprocess.run_training(flags)
    with pytest.raises(ValueError, match="has no optimizer's state"):
        inprocess.run_training([*flags, "--patience", 2])


def test_stop_time_hours_ends_for_good_and_counts_no_other_run(tmp_path, classification):
    def flags(name, *extra):
        return toy.train_flags(classification, tmp_path / name, "--tmkd-weight", 0, *extra)

    short = flags("run", "--stop-time-hours", 1e-9)
    inprocess.run_training(short)
    assert updates(tmp_path / "run") == 1
    log = inprocess.run_training(short)
    assert "--stop-time-hours 1e-09 was reached: the run is finished" in log
    assert updates(tmp_path / "run") == 1
    last = tmp_path / "run" / "checkpoint_last.pt"
    with toy.edited(last) as state:
        state["extra_state"]["previous_training_time"] = 36000.0
    begun = ["--finetune-from-model", last, "--stop-time-hours", 5, "--max-update", 3]
    inprocess.run_training(flags("other", *begun))
    assert updates(tmp_path / "other") == 3
    begun[0], anew = "--restore-file", ["--reset-optimizer", "--reset-dataloader", "--reset-meters"]
    inprocess.run_training(flags("third", *begun, *anew))
    assert updates(tmp_path / "third") == 3


def test_a_file_with_few_settings(tmp_path, classification):
    toy.fit(classification, tmp_path / "run", "--tmkd-weight", 0, "--max-update", 2)
    with toy.edited(tmp_path / "run" / "checkpoint_last.pt", tmp_path / "few.pt") as state:
        state["cfg"] = {section: state["cfg"][section] for section in ("model", "task")}
    other = toy.train_flags(classification, tmp_path / "other", "--tmkd-weight", 0)
    inprocess.run_training(
        [*other, "--finetune-from-model", tmp_path / "few.pt", "--max-update", 3]
    )
    assert updates(tmp_path / "other") == 3


def test_a_restore_file_without_the_optimizers_state(tmp_path, classification):
    """fairseq would begin at update 0, in the middle of the data."""
    run = toy.train_flags(classification, tmp_path / "run", "--tmkd-weight", 0)
    inprocess.run_training([*run, "--max-update", 3, "--no-save-optimizer-state"])
    last = tmp_path / "run" / "checkpoint_last.pt"
    other = toy.train_flags(classification, tmp_path / "other", "--tmkd-weight", 0)
    other += ["--restore-file", last, "--max-update", 5]
    with pytest.raises(ValueError, match=rf"--restore-file: {last} \(3 updates\) has no optimizer"):
        inprocess.run_training(other)
    inprocess.run_training([*other, "--reset-optimizer", "--reset-dataloader"])
    assert updates(tmp_path / "other") == 5
