"""A run that is stopped and resumed is the run that never was, to the last bit, in this process.

What kills do to it is shown in test_killed.py.
"""

import inprocess
import pytest
import toy
from recorded_train import by_epoch, mixes, recorded, recorded_by_two
from same_end import assert_same_end, assert_same_weights

# 7 updates an epoch, saved after 3, 6, 7, 9, ...
MIXES = ["--mixup-ratio", 2, "--tmkd-weight", 0, "--max-epoch", 2, "--save-interval-updates", 3]
DECAY = ["--lr-scheduler", "polynomial_decay", "--total-num-update", 30, "--warmup-updates", 5]
# nothing satisfies it: it halves the learning rate after the first epoch, whose end fairseq saves
# before it tells the schedule
PLATEAU = ["--lr-scheduler", "reduce_lr_on_plateau", "--lr-threshold", 1, "--lr-shrink", 0.5]
ASKED = ["--kd-weight", 1, "--tmkd-weight", 1, "--teacher-path", "TEACHER"]
# an iterator over the training split that validation makes is of epoch 1
TRAIN_TOO = ["--valid-subset", "valid,train", "--max-epoch", 3]
TWO_A_STEP = ["--update-freq", 2, "--batch-size", 16]
FP16 = ["--fp16-no-flatten-grads", "--fp16-scale-window", 5]  # raised after what was saved

# 3 updates an epoch, saved after 2, 3, 4, 6, ...
FEW = [*MIXES, "--batch-size", 40, "--save-interval-updates", 2]
CASES = {  # flags, updates that were saved, updates when it was stopped
    "default": ([*DECAY, "--max-epoch", 3], 4, 5),
    "workers, teacher": ([*DECAY, *ASKED, "--num-workers", 2, "--mixup-pairing", "length"], 4, 4),
    "fairseq's batches": ([*DECAY, "--batch-by-length", "off", *TWO_A_STEP], 4, 5),
    "end of an epoch": ([*PLATEAU, "--save-interval-updates", 0], 3, 4),
    "mixes return": ([*DECAY, *ASKED, *TRAIN_TOO, "--mixup-period", 2], 8, 8),
    "kinds": ([*DECAY, *ASKED, "--mixup-kind", "splice:span:interpolate"], 4, 5),
    "teacher's cache": ([*DECAY, *ASKED, *TRAIN_TOO, "--teacher-cache", "CACHE"], 4, 5),
    "bf16": (["--bf16"], 4, 5),
    "torch_adamw": (["--optimizer", "torch_adamw", *DECAY], 4, 5),
    "torch_adamw, bf16": (["--optimizer", "torch_adamw", "--bf16"], 4, 5),
    "fp16": (["--fp16", *FP16, "--fp16-init-scale", 4], 4, 5),
    "memory-efficient-bf16": (["--memory-efficient-bf16"], 4, 5),
    "memory-efficient-fp16": (["--memory-efficient-fp16", *FP16], 4, 5),
}


@pytest.mark.parametrize("case", CASES)
def test_one_process(tmp_path, classification, teacher, case):
    flags, saved, stopped = CASES[case]
    given = {"TEACHER": teacher, "CACHE": tmp_path / "cache"}
    flags = [given.get(flag, flag) for flag in (*FEW, *flags)]
    whole, parts = (toy.train_flags(classification, tmp_path / f, *flags) for f in "wp")
    records = []

    def watch(trainer, batches):
        if trainer.get_num_updates() == stopped:
            raise KeyboardInterrupt
        if trainer.get_num_updates() < saved:
            records.extend((trainer.epoch_begun, mixes(batch)) for batch in batches)

    straight = recorded(whole)
    with pytest.raises(KeyboardInterrupt):
        inprocess.run_training(parts, watch)
    assert 0 < len(records) < len(straight)
    with inprocess.captured_log() as log:
        records += recorded(parts)
    assert f"@ {saved} updates" in log.text and "not exactly" not in log.text
    assert by_epoch(records) == by_epoch(straight)  # no example left out, none twice
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        assert_same_end(tmp_path / "w", tmp_path / "p", name)


@pytest.mark.slow
def test_two_processes(tmp_path, classification):
    """In half precision, whose float32 copies the first one reads for both."""
    flags = [*MIXES, "--bf16"]
    whole, parts = (toy.train_flags(classification, tmp_path / f, *flags) for f in "wp")
    toy.processes(2, "fairseq_cli.train", whole)
    toy.processes(2, "fairseq_cli.train", [*parts, "--max-update", 6])
    toy.processes(2, "fairseq_cli.train", parts)
    assert_same_end(tmp_path / "w", tmp_path / "p")


def by_two(flags):
    return recorded_by_two(flags)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "first, then, stop, done_before",
    [(recorded, by_two, 10, 3), (by_two, recorded, 6, 4)],
    ids=["1 to 2", "2 to 1"],
)
def test_another_number_of_processes(tmp_path, classification, first, then, stop, done_before):
    """7 batches an epoch: two processes have 4 updates in it, one has 7."""
    flags = toy.train_flags(classification, tmp_path / "run", *MIXES)
    straight = recorded(toy.train_flags(classification, tmp_path / "straight", *MIXES))
    before = first([*flags, "--max-update", stop])
    position = inprocess.checkpoint(tmp_path / "run")["extra_state"]["train_iterator"]
    assert position["epoch"] == 2
    assert position["iterations_in_epoch"] * position["num_shards"] == done_before
    after = then(flags)
    assert sum(bool(rows) for epoch, rows in after if epoch == 2) == 7 - done_before
    assert by_epoch(before + after) == by_epoch(straight)


# 7 batches an epoch, of which 3 of the second were done: the update that comes then would be made
# of batches 1 to 4, and is made of the fourth alone.
@pytest.mark.parametrize(
    "world_size, update_freq", [(1, 4), pytest.param(2, 2, marks=pytest.mark.slow)]
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
    assert_same_weights(tmp_path / "straight", tmp_path / "run", atol=1e-6)
    expected, found = (toy.last_values(text, "train") for text in (one_by_one, log))
    for name in ("loss", "sm_loss", "accuracy", "bsz", "gnorm"):
        assert found[name] == pytest.approx(expected[name], abs=0.002), name
