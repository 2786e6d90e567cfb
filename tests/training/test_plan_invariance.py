"""The mixes of an epoch depend on seed and epoch alone."""

import numpy as np
import pytest
import toy
from recorded_train import by_epoch, recorded
from slow_cases import slow

from mixkd_plugin.data.mixup_plan import Examples, draw_plan

N = 101
EPOCHS = 3
MIXES = ["--mixup-ratio", 2, "--tmkd-weight", 0, "--max-epoch", EPOCHS, "--batch-size", 40]


def consumed(data, folder, *flags):
    return by_epoch(recorded(toy.train_flags(data, folder, *MIXES, *flags)))


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
        ["--batch-size", 11, "--valid-subset", "valid,train", "--save-interval-updates", 4],
        *slow(
            ["--batch-size", 2, "--max-epoch", 1],
            ["--max-tokens", 150, "--batch-size", 50],
            ["--update-freq", 2],
            ["--num-workers", 2, "--batch-by-length", "off", "--required-batch-size-multiple", 1],
            ["--sm-weight", 0.1, "--lr", 0.5, "--dropout", 0.4],
        ),
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)
def test_the_same_whatever_the_batches(tmp_path, classification, straight, flags):
    found = consumed(classification, tmp_path, "--max-epoch", 2, *flags)
    assert found == {epoch: straight[epoch] for epoch in found}
    assert len(found) == (1 if "--max-epoch" in flags else 2)


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
