"""The command lines of a study's jobs."""

import math
import shlex
import sys
from pathlib import Path
from typing import List, Mapping, Optional, Sequence

PLUGIN = Path(__file__).resolve().parents[1]


def valid_splits(data: Path) -> List[str]:
    return sorted(file.stem for file in (data / "input0").glob("valid*.bin"))


def train_command(
    data: Path,
    flags: List[str],
    seed: int,
    folder: Path,
    points: int,
    more_splits: Sequence[str] = (),
) -> List[str]:
    """`fairseq-train` on a data folder, validating ``points`` times, on ``more_splits`` as well.

    ``flags`` name --max-update. Where they keep the optimizer's state, a checkpoint is written at
    every validation, to go on from. The device is not named: a run is the same on any.
    """
    asked = (data / "train_flags.txt").read_text().split()
    every = str(math.ceil(int(flags[flags.index("--max-update") + 1]) / points))
    saving = ["--save-interval-updates", every, "--keep-interval-updates", "1"]
    return [
        sys.executable, "-m", "fairseq_cli.train", str(data), "--user-dir", str(PLUGIN),
        "--task", "mixkd_sentence_prediction", "--criterion", "mixkd", *asked, *flags,
        "--seed", str(seed), "--train-fraction-seed", str(seed),
        "--valid-subset", ",".join([*valid_splits(data), *more_splits]),
        "--validate-interval", "1000000", "--validate-interval-updates", every,
        "--save-interval", "1000000", "--no-epoch-checkpoints", "--save-dir", str(folder),
        "--log-format", "json", "--log-interval", "1000000",
        *([] if "--no-save-optimizer-state" in flags else saving),
    ]  # fmt: skip


def compare_command(
    data: Path,
    out: Path,
    teacher: str,
    students: Optional[Mapping[str, str]] = None,
    split: str = "valid",
) -> List[str]:
    named = {"teacher": teacher, **(students or {})}
    pairs = [f"{name}={path}" for name, path in named.items()]
    tool = [sys.executable, "-m", "mixkd_plugin.tools.compare"]
    return [*tool, str(data), *pairs, "--out", str(out), "--split", split]


def portable(command: List[str], out: Path) -> str:
    """A command without what is peculiar to this machine: by it, a job is known to be the same."""
    text = shlex.join(command)
    for ours, name in (
        (f"{sys.executable} -m fairseq_cli.train", "fairseq-train"),
        (f"{sys.executable} -m", "python -m"),
        (str(PLUGIN), "mixkd_plugin"),
        (str(out), "OUT"),
    ):
        text = text.replace(ours, name)
    return text
