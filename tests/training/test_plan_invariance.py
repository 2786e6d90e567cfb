"""The mixes of an epoch depend on seed and epoch alone; a resumed run is the straight run."""

import collections

import inprocess
import numpy as np
import pytest
import toy
from recorded_train import watcher
from same_end import assert_same_end

from mixkd_plugin.data.mixup_plan import Examples, draw_plan

N = 101
EPOCHS = 3
MIXES = ["--mixup-ratio", 2, "--tmkd-weight", 0, "--max-epoch", EPOCHS]
SCHEDULE = [
    "--lr-scheduler", "polynomial_decay", "--total-num-update", 60, "--warmup-updates", 5,
]  # fmt: skip


def by_epoch(records):
    """{epoch: sorted [(id, partner id, lam)]}"""
    found = collections.defaultdict(list)
    for epoch, rows in records:
        found[epoch] += map(tuple, rows)
    return {epoch: sorted(rows) for epoch, rows in found.items()}


def consumed(data, folder, *flags):
    records = []
    inprocess.run_training(toy.train_flags(data, folder, *MIXES, *flags), watcher(records.append))
    return by_epoch(records)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, classification):
    return consumed(classification, tmp_path_factory.mktemp("straight"))


def test_the_mixes_are_those_of_the_plan_and_differ_by_epoch(straight):
    zeros = np.zeros(N)  # pairing at random does not look at them
    assert sorted(straight) == list(range(1, EPOCHS + 1))
    for epoch, rows in straight.items():
        plan = draw_plan(Examples(zeros, zeros, zeros), 2, 0.4, "random", seed=1, epoch=epoch)
        expected = [
            (i, int(plan.partners[i, k]), float(plan.lam[i, k])) for i in range(N) for k in (0, 1)
        ]
        assert rows == sorted(expected)
    pairs = [{(i, j) for i, j, _ in rows} for rows in straight.values()]
    assert all(len(a & b) < 20 for a, b in zip(pairs, pairs[1:]))


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch-size", 5],
        ["--batch-size", 1, "--max-epoch", 1],
        ["--batch-size", 101],
        ["--max-tokens", 60, "--batch-size", 50],
        ["--update-freq", 3],
        pytest.param(["--num-workers", 2], marks=pytest.mark.slow),
        ["--batch-by-length", "off", "--required-batch-size-multiple", 1],
        ["--num-workers", 2, "--batch-by-length", "off", "--required-batch-size-multiple", 1],
        ["--sm-weight", 0.1, "--lr", 0.5, "--dropout", 0.4],
        pytest.param(
            ["--valid-subset", "valid,train", "--save-interval-updates", 9, "--batch-size", 3],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)
def test_the_same_whatever_the_batches(tmp_path, classification, straight, flags):
    found = consumed(classification, tmp_path, *flags)
    assert found == {epoch: straight[epoch] for epoch in found}
    assert len(found) == (1 if "--max-epoch" in flags else EPOCHS)


def test_another_seed_mixes_others(tmp_path, classification, straight):
    other = consumed(classification, tmp_path / "a", "--seed", 2, "--max-epoch", 1)
    assert other[1] != straight[1]
    same = consumed(
        classification, tmp_path / "b", "--seed", 2, "--mixup-seed", 1, "--max-epoch", 1
    )
    assert same[1] == straight[1]


def test_the_same_in_two_processes(straight, two_processes):
    assert by_epoch(two_processes.mixes) == straight
    # 7 batches for 2 processes: one of them computes the last step for nothing
    assert sum(not rows for _, rows in two_processes.mixes) == EPOCHS


# --- resuming in the middle of an epoch ---


@pytest.mark.parametrize(
    "flags",
    [
        [],
        pytest.param(["--num-workers", 2], marks=pytest.mark.slow),
        ["--batch-by-length", "off", "--update-freq", 2, "--save-interval-updates", 2],
        ["--num-workers", 2, "--mixup-pairing", "length", "--kd-weight", 1, "--tmkd-weight", 1],
    ],
    ids=lambda flags: " ".join(map(str, flags)) or "plain",
)
def test_resumed_run_is_the_straight_run(tmp_path, classification, teacher, straight, flags):
    flags = [*SCHEDULE, *flags]
    if "--kd-weight" in flags:
        flags += ["--teacher-path", teacher]
    whole = consumed(classification, tmp_path / "whole", *flags)
    stops_at = "5" if "--update-freq" in flags else "10"  # in the second epoch
    first = consumed(classification, tmp_path / "parts", *flags, "--max-update", stops_at)
    state = inprocess.checkpoint(tmp_path / "parts")["extra_state"]["train_iterator"]
    assert state["epoch"] == 2 and state["iterations_in_epoch"] > 0
    second = consumed(classification, tmp_path / "parts", *flags)
    assert sorted(first[2] + second[2]) == whole[2] and second[3] == whole[3]
    assert 0 < len(first[2]) < len(whole[2])
    # where the first part stopped it also validated
    assert_same_end(tmp_path / "whole", tmp_path / "parts", but=("scores", "meters"))


@pytest.mark.slow
def test_resumed_by_the_real_command(tmp_path, classification):
    """From a checkpoint in the middle of an epoch, of a run that went on a little."""
    flags = [*MIXES, *SCHEDULE, "--num-workers", 1]

    def flags_of(name, *extra):
        return toy.train_flags(classification, tmp_path / name, *flags, *extra)

    inprocess.run_training(flags_of("whole"))
    inprocess.run_training(flags_of("parts", "--save-interval-updates", 3, "--max-update", 10))
    (tmp_path / "parts" / "checkpoint_2_9.pt").rename(tmp_path / "parts" / "checkpoint_last.pt")
    toy.run_module("fairseq_cli.train", *flags_of("parts"))
    assert_same_end(tmp_path / "whole", tmp_path / "parts", but=("scores", "meters"))
