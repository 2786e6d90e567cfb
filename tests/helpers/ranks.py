"""Several processes of one run: their flags, their addresses, and the error that each ends with."""

import time

import inprocess
import toy
from same_end import assert_same_weights

# What torch may say after all else when a process ends that never destroyed its group, as fairseq's
# do not (https://github.com/pytorch/pytorch/issues/190489).
ABORTED = "terminate called without an active exception"


def errors(*results):
    """The last line of each process, which must be a ValueError, before any update."""
    for code, log in results:
        assert code not in (0, -9) and "train_inner" not in log, log[-2000:]
    lines = [log.replace(ABORTED, "").strip().splitlines()[-1] for _, log in results]
    lines = [line.split("ValueError: ", 1) for line in lines]
    assert all(len(line) == 2 for line in lines), lines
    return [line[1] for line in lines]


def refusals(tmp_path, data, flags, other_flags=None, other_data=None, count=2):
    """What each of two processes says, the second with other flags or data."""
    mine = toy.train_flags(data, tmp_path / "s", *flags)
    other = toy.train_flags(other_data or data, tmp_path / "s", *(other_flags or flags))
    start = time.monotonic()
    results = toy.processes(count, "fairseq_cli.train", mine, other, check=False)
    assert time.monotonic() - start < 60  # far below any time-out of torch's
    return errors(*results)


def at_address(address, rank, *flags):
    return ["fairseq_cli.train", *flags, *toy.joined(address, 2, rank)]


# The same 26 batches an epoch, 4 of them an update: the last update of an epoch has 2 of 4, so that
# of 4 processes two compute a dummy batch. adam-eps: the gradient of keys' biases is 0 but for
# rounding, which Adam would divide by its own size.
EVERYTHING = [
    "--kd-weight", 1, "--mixup-ratio", 2, "--dropout", 0, "--attention-dropout", 0,
    "--batch-size", 4, "--max-update", 20, "--max-epoch", 9, "--batch-size-valid", 8,
    "--adam-eps", 1e-5,
]  # fmt: skip


def flags_of(data, folder, teacher, world_size, *extra):
    flags = [*EVERYTHING, "--teacher-path", teacher, "--update-freq", 4 // world_size]
    return toy.train_flags(data, folder, *flags, *extra)


def as_one_and_as_two(data, folder, teacher, *extra, backend="legacy_ddp"):
    """The logs of a run of one process and of one of two, which must end with equal weights."""
    one, two = (flags_of(data, folder / f"of_{n}", teacher, n, *extra) for n in (1, 2))
    module = "fully_sharded_train" if backend == "fully_sharded" else "fairseq_cli.train"
    logs = inprocess.run_training(one), toy.processes(2, module, two, backend=backend)[0]
    assert_same_weights(folder / "of_1", folder / "of_2", atol=1e-6)
    return logs
