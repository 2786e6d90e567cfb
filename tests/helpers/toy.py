"""A toy task in fairseq's binary format, and runs of the real command line on it."""

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

import forked
import inprocess
import torch

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "mixkd_plugin"
WORDS = [f"w{i}" for i in range(40)]
copy_data = shutil.copytree  # (source, target) -> target
HEAD = "sentence_classification_head"  # fairseq's name for it
FINE_TUNE = ["--sm-weight", 0, "--tmkd-weight", 0, "--mixup-ratio", 0]
OFF = ["--kd-weight", 0, *FINE_TUNE, "--batch-by-length", "off", "--padding-free", "off"]
SIZE = [
    "--arch", "roberta", "--encoder-layers", 2, "--encoder-embed-dim", 32,
    "--encoder-ffn-embed-dim", 64, "--encoder-attention-heads", 4,
]  # fmt: skip
TERMS = {"mle_loss": 1, "kd_loss": 0.5, "sm_loss": 1, "tmkd_loss": 1}
# A teacher by fairseq alone, deeper than the student (mixkd_tiny) and of the same width.
TEACHER = [*SIZE, "--encoder-layers", 3]
EVERYTHING = [
    "--kd-weight", 0.5, "--mixup-ratio", 2, "--mixup-pairing", "length",
    "--teacher-weights", "0.7:0.3", "--distill-distance", "kl", "--distill-temperature", 2,
    "--train-fraction", 0.5, "--student-init-layers", "spaced",
]  # fmt: skip


def sentences(n: int, seed: int, longest: int = 12, classes: int = 2):
    """(text, class): the class says how many of the words are even-numbered; 1 of 2: most."""
    rng = random.Random(seed)
    for _ in range(n):
        words = [rng.randrange(len(WORDS)) for _ in range(rng.randint(1, longest))]
        even = sum(1 - w % 2 for w in words)
        yield " ".join(WORDS[w] for w in words), classes * even // (len(words) + 1)


def preprocess(folder: Path, train: Path, valid: Path, dictionary: Path, out: str) -> None:
    inprocess.preprocess(
        "--only-source", "--trainpref", train, "--validpref", valid,
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
        pairs = list(sentences(n, seed, longest, len(labels)))
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


def command_of(module: str, arguments) -> dict:
    """What runs ``python -m module`` with one thread, stdout and stderr in one text."""
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
    environment.pop("PYTHONWARNINGS", None)  # which fairseq's iterators set
    paths = [str(ROOT / "tests" / "helpers"), environment.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    return dict(
        args=[sys.executable, "-m", module, *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run_module(module: str, *arguments, check: bool = True, timeout: int = 300):
    """Run ``python -m module`` in a fork that has fairseq; ``timeout`` in seconds."""
    command = [module, *map(str, arguments)]
    ((code, output),) = forked.run(command, seconds=timeout)
    if check and code != 0:
        raise AssertionError(f"{' '.join(command)}\nexit {code}\n{output[-6000:]}")
    return subprocess.CompletedProcess(command, code, output)


def run_together(*commands: Sequence, check: bool = True):
    """Several ``python -m module`` at the same time, processes that import fairseq themselves.

    Returns their outputs, or without ``check`` (exit code, output) of each.
    """
    with contextlib.ExitStack() as stack:
        processes = []
        for module, *arguments in commands:
            process = subprocess.Popen(cwd=ROOT, **command_of(module, arguments))
            stack.callback(process.kill)  # also where another one failed
            processes.append(process)
        with ThreadPoolExecutor(len(processes)) as readers:
            results = list(readers.map(lambda p: p.communicate(timeout=300)[0], processes))
        codes = [p.returncode for p in processes]
    if check and any(codes):
        raise AssertionError(f"exits {codes}\n" + "\n\n".join(r[-4000:] for r in results))
    return results if check else list(zip(codes, results))


def run_script(venv: Path, script: str, *arguments, cwd: Path = ROOT, check: bool = True):
    """Run a script of examples/ in an environment; (exit code, output)."""
    done = subprocess.run(
        ["bash", str(ROOT / "examples" / script), *map(str, arguments)], cwd=cwd, timeout=900,
        env=dict(os.environ, VENV=str(venv), OMP_NUM_THREADS="1"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if check and done.returncode != 0:
        raise AssertionError(f"{script}\nexit {done.returncode}\n{done.stdout[-6000:]}")
    return done.returncode, done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def joined(address: str, world_size: int, rank: int, backend: str = "gloo") -> list:
    """Flags of one of several processes, none of which fairseq starts."""
    return [
        "--distributed-world-size", world_size, "--distributed-rank", rank, "--device-id", 0,
        "--distributed-init-method", address, "--distributed-no-spawn", "--distributed-backend",
        backend,
    ]  # fmt: skip


def processes(
    count: int, module: str, *arguments: Sequence, backend: str = "legacy_ddp", check: bool = True
):
    """Run a fairseq command as processes that talk over gloo.

    ``arguments`` are those of all, or one list for each. Returns what each printed, or without
    ``check`` (exit code, what it printed).
    """
    address = f"tcp://127.0.0.1:{free_port()}"
    commands = []
    for rank in range(count):
        together = [*joined(address, count, rank), "--ddp-backend", backend]
        commands.append((module, *arguments[rank % len(arguments)], *together))
    results = forked.run(*commands)
    if not check:
        return results
    if any(code for code, _ in results):
        raise AssertionError("\n\n".join(f"exit {code}\n{log[-4000:]}" for code, log in results))
    return [log for _, log in results]


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


def fit(data: Path, save_dir: Path, *extra, watcher=lambda *_: None, **kwargs) -> str:
    """``fairseq-train`` in this process; its log."""
    return inprocess.run_training(train_flags(data, save_dir, *extra, **kwargs), watcher)


def train(data: Path, save_dir: Path, *extra, check: bool = True, **kwargs):
    return run_module(
        "fairseq_cli.train", *train_flags(data, save_dir, *extra, **kwargs), check=check
    )


def validate_flags(
    data: Path, checkpoint: Path, *extra, user_dir: Path = PLUGIN,
    task: str = "mixkd_sentence_prediction",
):  # fmt: skip
    return [
        data, "--user-dir", user_dir, "--cpu", "--task", task, "--path", checkpoint,
        "--log-format", "simple", "--num-workers", 0, *extra,
    ]  # fmt: skip


def last_values(log: str, kind: str) -> Dict[str, float]:
    """Figures of the last log line of ``kind``: train_inner, train or valid."""
    lines: List[str] = [line for line in log.splitlines() if f"| {kind} |" in line]
    return {
        key: float(value)
        for key, value in re.findall(r"(\w+) (-?[\d.]+(?:e[+-]?\d+)?)(?= \||$)", lines[-1])
    }


@contextlib.contextmanager
def edited(source, path=None) -> Iterator[dict]:
    """What a checkpoint holds, to be changed in the block; then saved as ``path`` (or itself)."""
    state = torch.load(source, map_location="cpu", weights_only=False)
    yield state
    torch.save(state, path or source)
