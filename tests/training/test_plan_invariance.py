"""The mixes of an epoch depend on seed and epoch alone; two processes log the figures of one."""

import numpy as np
import pytest
import toy
from recorded_train import by_epoch, recorded, recorded_by_two, rows_of
from scores import assert_logged, classification_scores
from slow_cases import slow
from toy import TERMS

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
        assert rows == rows_of(plan) and len(rows) == 2 * N
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


# --- in two processes, with 7 batches an epoch: one of them lacks a batch at the end ---


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, classification, teacher):
    """The run's folder and log, and (epoch, mixes) of every batch."""
    folder = tmp_path_factory.mktemp("two_processes")
    flags = [
        "--mixup-ratio", 2, "--max-epoch", EPOCHS, "--kd-weight", 1, "--teacher-path", teacher,
        "--report-mcc", "--report-acc-and-f1", "--batch-size-valid", 8, "--student-init-path",
        teacher, "--lr", 0.005, "--dropout", 0, "--attention-dropout", 0,
    ]  # fmt: skip
    mixes, logs = recorded_by_two(toy.train_flags(classification, folder, *flags))
    return folder, logs[0], mixes


def test_they_mix_the_same(straight, two_processes):
    *_, mixes = two_processes
    assert by_epoch(mixes) == straight
    # 7 batches for 2 processes: one of them computes the last step for nothing
    assert sum(not rows for _, rows in mixes) == EPOCHS


def test_they_log_every_term(two_processes):
    values = toy.last_values(two_processes[1], "train")
    assert all(0 < values[term] < 10 for term in TERMS)
    assert values["loss"] == pytest.approx(sum(values[term] for term in TERMS), abs=0.003)


def test_they_log_the_figures_of_one(classification, two_processes):
    """37 validation examples in 5 batches: one of the processes has a batch less."""
    folder, log, _ = two_processes
    checkpoint = folder / "checkpoint_last.pt"
    assert_logged(log, classification_scores(classification, ("0", "1"), checkpoint))
