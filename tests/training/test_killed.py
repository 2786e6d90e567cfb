"""A run killed with SIGKILL, however often and wherever, ends as the run that never was."""

import json
import re

import pytest
import torch
import toy
from same_end import assert_same_end

EVERYTHING = [
    "--kd-weight", 1, "--mixup-ratio", 2, "--dropout", 0.2, "--attention-dropout", 0.1,
    "--num-workers", 1, "--save-interval-updates", 3, "--keep-interval-updates", 2,
    "--warmup-updates", 5, "--log-interval", 2, "--report-mcc", "--mixup-period", 2,
    "--batch-by-length", "off", "--batch-size", 5, "--update-freq", 2, "--max-epoch", 4,
    "--lr-scheduler", "polynomial_decay", "--total-num-update", 60,
]  # fmt: skip


@pytest.mark.slow
def test_twenty_kills(tmp_path, classification, teacher):
    """At any point: while it starts, trains, validates, saves, or writes the teacher's cache."""
    flags = [*EVERYTHING, "--teacher-path", teacher, "--teacher-cache", tmp_path / "cache"]
    flags = toy.train_flags(classification, tmp_path, *flags)
    done = toy.run_module("killed_train", 20, 1, tmp_path, *flags, timeout=900)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == 20
    assert {"start", "train", "save"} <= {phase for _, phase, _ in found}
    assert len({updates for _, phase, updates in found if phase != "start"}) >= 4
    runs = sorted(tmp_path.glob("killed*"))
    assert len(runs) - found[-1][0] in (1, 2)
    for run in runs:
        for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
            assert_same_end(tmp_path / "straight", run, name)
        # no fewer files and nothing unfinished; no more either, but for the old checkpoint that
        # fairseq removes after its last save of an epoch's middle: a kill between the two leaves it
        names = {f.name for f in (tmp_path / "straight").iterdir()}
        assert names <= {f.name for f in run.iterdir()}
        extra = [f for f in run.iterdir() if f.name not in names]
        assert len(extra) <= 1
        for file in extra:
            assert re.fullmatch(r"checkpoint_\d+_\d+\.pt", file.name)
            torch.load(file, weights_only=False)
