"""The command lines of a study's jobs."""

import math
import re
import shlex
import sys
from pathlib import Path
from typing import List, Mapping, Optional, Sequence

PLUGIN = Path(__file__).resolve().parents[2]
USUAL = ("--task", "mixkd_sentence_prediction", "--criterion", "mixkd")  # a later flag wins


def valid_splits(data: Path) -> List[str]:
    return sorted(file.stem for file in (data / "input0").glob("valid*.bin"))


def train_command(
    data: Path,
    flags: List[str],
    seed: int,
    folder: Path,
    points: int,
    more_splits: Sequence[str] = (),
    user_dir: str = str(PLUGIN),
) -> List[str]:
    """`fairseq-train` on a data folder, validating ``points`` times, on ``more_splits`` as well.

    ``flags`` name --max-update, and task and criterion where they are not ours. Where they keep the
    optimizer's state, a checkpoint is written at every validation, to go on from. The device is not
    named: a run is the same on any.
    """
    asked = (data / "train_flags.txt").read_text().split()
    every = str(math.ceil(int(flags[flags.index("--max-update") + 1]) / points))
    saving = ["--save-interval-updates", every, "--keep-interval-updates", "1"]
    return [
        sys.executable, "-m", "fairseq_cli.train", str(data), "--user-dir", user_dir,
        *USUAL, *asked, *flags,
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
    user_dir: str = str(PLUGIN),
) -> List[str]:
    named = {"teacher": teacher, **(students or {})}
    pairs = [f"{name}={path}" for name, path in named.items()]
    tool = [sys.executable, "-m", "mixkd_plugin.tools.compare"]
    own = [] if user_dir == str(PLUGIN) else ["--user-dir", user_dir]
    return [*tool, str(data), *pairs, "--out", str(out), "--split", split, *own]


def portable(command: List[str], places: Mapping[str, str]) -> str:
    """A command without what is peculiar to this machine: by it, a job is known to be the same.

    places: the name that stands for each path, and for what is in it
    """
    python, flag, module, *words = command
    start = {sys.executable: "python"}.get(python, python), flag, module
    words = [*(["fairseq-train"] if module == "fairseq_cli.train" else start), *words]
    for path, name in {**places, str(PLUGIN): "mixkd_plugin"}.items():
        whole = re.compile(rf"(?<![\w.-]){re.escape(path)}(?=/|$)")
        words = [whole.sub(name, word) for word in words]
    return shlex.join(words)
