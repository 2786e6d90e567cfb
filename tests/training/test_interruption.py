"""A run killed with SIGKILL, however often and wherever, ends as the run that never was."""

import json
import random
import re
import signal
import subprocess

import pytest
import torch
import toy
from same_end import assert_same_end

EVERYTHING = [
    "--kd-weight", 1, "--mixup-ratio", 2, "--dropout", 0.2, "--attention-dropout", 0.1,
    "--num-workers", 1, "--save-interval-updates", 3, "--keep-interval-updates", 2,
    "--warmup-updates", 5, "--log-interval", 2, "--report-mcc",
]  # fmt: skip
DECAY = ["--lr-scheduler", "polynomial_decay", "--total-num-update", 60]


def killed(data, teacher, folder, kills, seed, *flags):
    """[run, phase, updates] of each kill; the runs, `killed0` and so on, end as `straight`."""
    flags = toy.train_flags(data, folder, *EVERYTHING, "--teacher-path", teacher, *flags)
    done = toy.run_module("killed_train", kills, seed, folder, *flags, timeout=900)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == kills
    runs = sorted(folder.glob("killed*"))
    assert len(runs) == 1 + found[-1][0] or len(runs) == 2 + found[-1][0]
    for run in runs:
        assert_same_end(folder / "straight", run)
        assert_same_end(folder / "straight", run, "checkpoint_best.pt")
        # no fewer files and nothing unfinished; no more either, but for the old checkpoint that
        # fairseq removes after its last save of an epoch's middle: a kill between the two leaves it
        names = {f.name for f in (folder / "straight").iterdir()}
        assert names <= {f.name for f in run.iterdir()}
        extra = [f for f in run.iterdir() if f.name not in names]
        assert len(extra) <= 1
        assert all(re.fullmatch(r"checkpoint_\d+_\d+\.pt", f.name) for f in extra)
        for file in extra:
            torch.load(file, weights_only=False)
    return found


@pytest.mark.slow
def test_three_kills(tmp_path, classification, teacher):
    found = killed(classification, teacher, tmp_path, 3, 1, *DECAY, "--num-workers", 0)
    assert len({(phase, updates) for _, phase, updates in found}) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        [*DECAY, "--batch-size", 8, "--max-epoch", 4],
        [
            "--mixup-period",
            2,
            "--teacher-cache",
            "cache",
            "--batch-by-length",
            "off",
            "--batch-size",
            5,
            "--update-freq",
            2,
            "--max-epoch",
            4,
            "--lr-scheduler",
            "reduce_lr_on_plateau",
            "--lr",
            0.004,
        ],
    ],  # fmt: skip
    ids=["mixes new", "mixes and answers return"],
)
def test_twenty_kills(tmp_path, classification, teacher, flags):
    flags = [tmp_path / "cache" if flag == "cache" else flag for flag in flags]
    found = killed(classification, teacher, tmp_path, 20, 1, *flags)
    assert {"start", "train", "save"} <= {phase for _, phase, _ in found}
    assert len({updates for _, phase, updates in found if phase != "start"}) >= 4


@pytest.mark.slow
def test_kills_of_the_real_command(tmp_path, classification, teacher):
    extra = [*EVERYTHING, *DECAY, "--teacher-path", teacher, "--log-interval", 1]
    rng = random.Random(1)
    toy.train(classification, tmp_path / "straight", *extra)
    reached = []
    for _ in range(3):
        command = toy.command_of(
            "fairseq_cli.train", toy.train_flags(classification, tmp_path / "killed", *extra)
        )
        with subprocess.Popen(**command, cwd=toy.ROOT) as process:
            left = rng.randint(3, 6)
            for line in process.stdout:
                left -= "| train_inner |" in line
                if not left:
                    process.send_signal(signal.SIGKILL)
                    reached.append(line.split("|")[3].split("loss")[0])
                    break
        assert process.returncode == -signal.SIGKILL
    assert len(set(reached)) == 3
    toy.train(classification, tmp_path / "killed", *extra)
    assert_same_end(tmp_path / "straight", tmp_path / "killed")
    assert_same_end(tmp_path / "straight", tmp_path / "killed", "checkpoint_best.pt")
