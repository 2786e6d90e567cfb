"""Resumed on another number of processes in the middle of an epoch, a run mixes the same pairs."""

import json

import inprocess
import pytest
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
