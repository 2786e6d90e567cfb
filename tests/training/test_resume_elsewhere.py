"""Resumed on another number of processes in the middle of an epoch, a run mixes the same pairs."""

import json

import inprocess
import pytest
import torch
import toy
from recorded_train import watcher
from same_end import end
from test_plan_invariance import MIXES, by_epoch, straight  # noqa: F401  (a fixture)


def alone(folder, flags):
    """The mixes that one process trains on."""
    records = []
    inprocess.run_training(flags, watcher(records.append))
    return records


def together(folder, flags):
    """Those of two processes."""
    paths = [folder / f"mixes{rank}" for rank in range(2)]
    toy.two_processes("recorded_train", *([path, *flags] for path in paths))
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines]


# 7 batches an epoch: two processes have 4 updates in it, one has 7
@pytest.mark.slow
@pytest.mark.parametrize(
    "first, then, stop, done_before",
    [(alone, together, 10, 3), (together, alone, 6, 4)],
    ids=["1 to 2", "2 to 1"],
)
def test_another_number_of_processes(
    tmp_path,
    classification,
    straight,  # noqa: F811
    first,
    then,
    stop,
    done_before,
):
    flags = toy.train_flags(classification, tmp_path / "run", *MIXES)
    before = first(tmp_path, [*flags, "--max-update", stop])
    saved = end(tmp_path / "run")["position"]
    assert saved["epoch"] == 2
    assert saved["iterations_in_epoch"] * saved["num_shards"] == done_before
    after = then(tmp_path, flags)
    assert sum(bool(rows) for epoch, rows in after if epoch == 2) == 7 - done_before
    assert by_epoch(map(tuple, before + after)) == straight  # none left out, none twice


# 7 batches an epoch, of which 3 of the second were done: the update that comes then would be made
# of batches 1 to 4, and is made of the fourth alone.
@pytest.mark.parametrize(
    "world_size, update_freq",
    [(1, 4), pytest.param(2, 2, marks=pytest.mark.slow)],
)
def test_batches_done_before_add_nothing(tmp_path, classification, world_size, update_freq):
    flags = [*MIXES, "--lr", 0.01, "--dropout", 0, "--attention-dropout", 0, "--adam-eps", 1e-5]

    def flags_of(name, *extra):
        return toy.train_flags(classification, tmp_path / name, *flags, *extra)

    one_by_one = inprocess.run_training(flags_of("straight", "--max-update", 11))
    inprocess.run_training(flags_of("run", "--max-update", 10))
    resumed = flags_of("run", "--max-update", 11, "--update-freq", update_freq)
    if world_size == 1:
        log = inprocess.run_training(resumed)
    else:
        log = toy.processes(world_size, "fairseq_cli.train", resumed)[0]
    (one, two) = (inprocess.checkpoint(tmp_path / name)["model"] for name in ("straight", "run"))
    for name, parameter in one.items():
        torch.testing.assert_close(parameter, two[name], rtol=0, atol=1e-6)
    expected, found = (toy.last_values(text, "train") for text in (one_by_one, log))
    for name in ("loss", "sm_loss", "accuracy", "bsz", "gnorm"):
        assert found[name] == pytest.approx(expected[name], abs=0.002), name
