"""Processes that do not fit together: one clear error on every one of them, and no hang."""

import socket

import forked
import hf_encoders
import inprocess
import pytest
import toy
from ranks import at_address, errors, refusals
from refusals import FINE_TUNE, KD, assert_matches
from slow_cases import slow
from taught import another_token, turn_symbols
from toy import SIZE

OURS = "mixkd_sentence_prediction"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--dropout", 0.3, "--sm-weight", 0], "--dropout must .*: 0.1 on rank 0, 0.3 on rank 1"),
        (["--teacher-path", "/a.pt"], "--teacher-path must .*: None on rank 0, /a.pt on rank 1"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_other_flags(tmp_path, classification, flags, message):
    base = ["--tmkd-weight", 0]
    for said in refusals(tmp_path, classification, base, [*base, *flags]):
        assert_matches(message, said)


def test_a_flag_that_cannot_be_on_one_rank_alone(tmp_path, classification):
    mine, other = refusals(tmp_path, classification, FINE_TUNE, [*FINE_TUNE, "--mixup-alpha", 0])
    assert other.startswith("--mixup-alpha must be") and "got 0.0" in other
    assert mine == f"rank 1: {other}"


@pytest.mark.parametrize(
    "change, what", [(another_token, "input0/train.bin"), *slow((turn_symbols, "vocabulary"))]
)
def test_other_data(tmp_path, classification, data, change, what):
    change(data)
    for said in refusals(tmp_path, classification, FINE_TUNE, other_data=data):
        assert_matches(f"{what} of the data must be the same on every rank: [0-9a-f]{{16}}", said)


def test_no_data_on_one_rank(tmp_path, classification, data):
    (data / "input0" / "valid.bin").unlink()
    mine, other = refusals(tmp_path, classification, FINE_TUNE, other_data=data)
    assert_matches(r"valid.*data", other)
    assert mine == f"rank 1: {other}"


def test_a_teacher_that_cannot_be_read(tmp_path, classification):
    path = tmp_path / "teacher.pt"
    path.write_text("hello")
    mine, other = refusals(tmp_path, classification, [*KD, "--teacher-path", path])
    assert mine.startswith(f"--teacher-path: {path} ")  # rank 0 reads
    assert other == f"rank 0: {mine}"


@pytest.mark.slow
def test_a_student_that_begins_from_a_file_that_one_host_lacks(tmp_path, classification):
    flags = [*FINE_TUNE, "--student-init-path", tmp_path / "none.pt"]
    for said in refusals(tmp_path, classification, flags):
        assert "--student-init-path" in said and "does not exist" in said


def package_of(folder, code):
    """A user directory."""
    package = folder / "their_own_mixkd"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    return package


# each rank in a working directory of its own, as on a host of its own
ELSEWHERE = """
import os
import sys
import mixkd_plugin

rank = sys.argv[sys.argv.index("--distributed-rank") + 1]
os.chdir(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), rank))
"""


def test_a_folder_of_an_encoder_that_one_host_lacks(tmp_path, classification, transformers):
    hf_encoders.write_classifier("bert", tmp_path / "0" / "encoder", transformers)
    (tmp_path / "1").mkdir()
    package = package_of(tmp_path, ELSEWHERE)
    flags = ["--user-dir", package, "--arch", "mixkd_hf", "--max-positions", 32]
    flags += [*FINE_TUNE, "--hf-model", "encoder"]
    mine, other = refusals(tmp_path, classification, flags)
    assert other.startswith("--hf-model encoder: ") and mine == f"rank 1: {other}"


def test_more_processes_than_examples(tmp_path):
    data = toy.make_data(tmp_path / "data", {"train": 3, "valid": 8})
    for said in refusals(tmp_path, data, [*FINE_TUNE, "--batch-size", 1], count=4):
        assert said.startswith("--distributed-world-size must be at most 3") and "got 4" in said


RULE = """
import numpy as np
from mixkd_plugin import distributed, register_pairing

@register_pairing("by-rank")
def by_rank(examples, rng):
    return np.roll(np.arange(len(examples.ids)), 1 + distributed.rank())
"""


@pytest.mark.parametrize("flags", [["--batch-size", 8], *slow(["--max-tokens", 100])])
def test_a_pairing_rule_that_draws_other_mixes_on_each_rank(tmp_path, classification, flags):
    """As hash() does, and the order of a set: logits of the teacher would be of other mixes."""
    package = package_of(tmp_path, RULE)
    flags = ["--user-dir", package, "--mixup-pairing", "by-rank", "--tmkd-weight", 0, *flags]
    for said in refusals(tmp_path, classification, flags):
        assert_matches("--mixup-pairing by-rank draws must .*: [0-9a-f]{16} on rank 0, ", said)


@pytest.mark.parametrize("rank", [0, *slow(1)])
def test_an_address_that_does_not_answer(tmp_path, classification, rank):
    """Rank 0 whom nobody joins, and rank 1 who finds nobody."""
    flags = toy.train_flags(classification, tmp_path, *FINE_TUNE, "--rendezvous-timeout", 3)
    address = f"tcp://127.0.0.1:{toy.free_port()}"
    (said,) = errors(*forked.run(at_address(address, rank, *flags), seconds=45))
    assert_matches(
        f"--distributed-init-method {address}: rank {rank} .* 3 seconds .--rendezvous-timeout", said
    )


@pytest.mark.parametrize("world_size, task", [(3, OURS), (2, "sentence_prediction")])
def test_another_number_of_processes_or_another_task(tmp_path, classification, world_size, task):
    """What must be alike before there is a task that could compare."""
    address = f"tcp://127.0.0.1:{toy.free_port()}"
    own = FINE_TUNE if task == OURS else SIZE
    first = at_address(address, 0, *toy.train_flags(classification, tmp_path, *FINE_TUNE))
    second = at_address(address, 1, *toy.train_flags(classification, tmp_path, *own, task=task))
    second[second.index("--distributed-world-size") + 1] = world_size
    mine, other = errors(*forked.run(first, second, seconds=45))
    one, two = (
        f"--distributed-world-size {n} --task {t}" for n, t in ((2, OURS), (world_size, task))
    )
    assert mine.startswith(f"rank 0 was started with {one}, rank 1 with {two}")
    assert other.startswith(f"rank 1 was started with {two}, rank 0 with {one}")


def test_a_rank_that_is_missing_among_others(tmp_path, classification):
    """Both that came name the flag of the time limit, and how many are wanted."""
    flags = toy.train_flags(classification, tmp_path, *FINE_TUNE, "--rendezvous-timeout", 4)
    address = f"tcp://127.0.0.1:{toy.free_port()}"
    commands = [at_address(address, rank, *flags) for rank in range(2)]
    for command in commands:
        command[command.index("--distributed-world-size") + 1] = 3
    for rank, said in enumerate(errors(*forked.run(*commands, seconds=45))):
        assert_matches(f"rank {rank} did not meet all 3 ranks", said)
        assert_matches("--rendezvous-timeout.*--distributed-world-size 3", said)


def test_a_port_that_is_taken(tmp_path, classification):
    flags = toy.train_flags(classification, tmp_path / "s", *FINE_TUNE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        (said,) = errors(*forked.run(at_address(address, 0, *flags)))
    assert_matches(
        f"--distributed-init-method {address}: rank 0 did not meet all 2 ranks .*in use", said
    )


def test_processes_without_a_gpu_that_nobody_starts(tmp_path, classification):
    """fairseq would start none, and report success."""
    flags = toy.train_flags(classification, tmp_path, *FINE_TUNE)
    flags += ["--distributed-world-size", 2, "--distributed-init-method", "tcp://127.0.0.1:9"]
    (said,) = errors(*forked.run(["fairseq_cli.train", *flags]))
    assert_matches("--distributed-world-size 2: .* --distributed-no-spawn", said)


def test_flags_that_may_differ(tmp_path, classification, data):
    mine, other = (
        toy.train_flags(folder, tmp_path / "s", *FINE_TUNE, "--max-epoch", 1, *extra)
        for folder, extra in ((classification, []), (data, ["--num-workers", 1]))
    )
    toy.processes(2, "fairseq_cli.train", mine, other)
    assert inprocess.updates(tmp_path / "s") == 4
