"""A toy task in fairseq's binary format, and runs of the real command line on it."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Sequence

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "mixkd_plugin"
WORDS = [f"w{i}" for i in range(40)]


def sentences(n: int, seed: int, longest: int = 12):
    """(text, class): class 1 where more words are even-numbered than odd-numbered."""
    rng = random.Random(seed)
    for _ in range(n):
        words = [rng.randrange(len(WORDS)) for _ in range(rng.randint(1, longest))]
        even = sum(1 - w % 2 for w in words)
        yield " ".join(WORDS[w] for w in words), int(2 * even > len(words))


def preprocess(folder: Path, train: Path, valid: Path, dictionary: Path, out: str) -> None:
    run_module(
        "fairseq_cli.preprocess", "--only-source", "--trainpref", train, "--validpref", valid,
        "--srcdict", dictionary, "--destdir", folder / out, "--workers", 1,
    )  # fmt: skip


def make_data(
    folder: Path,
    sizes: Dict[str, int],
    labels: Sequence[str] = ("0", "1"),
    targets: int = 0,
    words: Sequence[str] = WORDS,
    longest: int = 12,
) -> Path:
    """Write train and valid splits; ``targets`` > 0 makes a regression task of so many targets."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    (raw / "dict.txt").write_text("".join(f"{w} 1\n" for w in words))
    (raw / "labels.txt").write_text("".join(f"{name} 1\n" for name in labels))
    (folder / "label").mkdir()
    for seed, (split, n) in enumerate(sizes.items()):
        pairs = list(sentences(n, seed, longest))
        (raw / f"{split}.text").write_text("".join(f"{t}\n" for t, _ in pairs))
        (raw / f"{split}.label").write_text("".join(f"{labels[c]}\n" for _, c in pairs))
        if targets:
            rng = random.Random(100 + seed)
            rows = [[c + 0.1 * rng.random() + k for k in range(targets)] for _, c in pairs]
            (folder / "label" / f"{split}.label").write_text(
                "".join(" ".join(f"{v:.4f}" for v in row) + "\n" for row in rows)
            )
    preprocess(folder, raw / "train.text", raw / "valid.text", raw / "dict.txt", "input0")
    if not targets:
        preprocess(folder, raw / "train.label", raw / "valid.label", raw / "labels.txt", "label")
    return folder


def run_module(module: str, *arguments, check: bool = True, cwd: Path = ROOT):
    """Run ``python -m module`` with one thread; its output is text with stderr in it."""
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=300,
    )  # fmt: skip
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout[-6000:]}")
    return done


def train_flags(data: Path, save_dir: Path, *extra, task: str = "mixkd_sentence_prediction"):
    ours = task.startswith("mixkd")
    return [
        data, "--user-dir", PLUGIN, "--cpu", "--task", task,
        "--criterion", "mixkd" if ours else "sentence_prediction",
        "--arch", "mixkd_tiny", "--num-classes", 2, "--init-token", 0, "--max-positions", 64,
        "--optimizer", "adam", "--lr", "0.002", "--batch-size", 16, "--max-epoch", 2,
        "--save-dir", save_dir, "--log-format", "simple", "--log-interval", 1,
        "--num-workers", 0, "--no-epoch-checkpoints", *extra,
    ]  # fmt: skip


def train(data: Path, save_dir: Path, *extra, check: bool = True, **kwargs):
    return run_module(
        "fairseq_cli.train", *train_flags(data, save_dir, *extra, **kwargs), check=check
    )


def last_values(log: str, kind: str) -> Dict[str, float]:
    """Figures of the last log line of ``kind``: train_inner, train or valid."""
    lines: List[str] = [line for line in log.splitlines() if f"| {kind} |" in line]
    return {
        key: float(value)
        for key, value in re.findall(r"(\w+) (-?[\d.]+(?:e-?\d+)?)(?= \||$)", lines[-1])
    }


def copy_data(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target
