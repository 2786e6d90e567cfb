"""`distil`, ended wherever it writes, says why in a line, and goes on when it is run again."""

import errno
import json
import os
import signal

import classifiers
import pytest
import torch
import toy
from same_end import assert_same

import mixkd_plugin  # noqa: F401  (what checkpoints may hold)
from mixkd_plugin.tools.cli import MORE_SPACE

STEPS = (
    *("texts", "teacher", "data", "teacher_score", "trial", "teacher_logits", "runs/splice-1"),
    *("runs/kd+hidden-1", "exports/hf", "exports/onnx-int8", "serving"),
)
SPEEDS = {"p50", "p95", "sentences_per_second"}


@pytest.fixture(scope="module")
def case(tmp_path_factory, transformers):
    folder = tmp_path_factory.mktemp("killed") / "case"
    return classifiers.make_case(folder, transformers, names=["neg", "pos"], sizes=(40, 24))


def quality(out):
    """report.json without what is measured by a clock."""
    report = json.loads((out / "report" / "report.json").read_text())
    for row in report["models"].values():
        assert {*row} > SPEEDS
        for key in SPEEDS:
            del row[key]
    return report


@pytest.mark.slow
def test_kills_at_every_step(tmp_path, case):
    done = toy.run_module(
        "killed_distil", "kills", tmp_path, "--teacher", case.teacher, "--train", case.train,
        "--dev", case.dev, "--updates", 4, "--layers", 2, "--cpu", "--int8", timeout=1800,
    )  # fmt: skip
    kills = [json.loads(line)[1] for line in done.stdout.splitlines() if line.startswith('["')]
    for step in STEPS:
        assert any(name.startswith(f"work/{step}") for name in kills), (step, kills)
    assert {"config.json", "checkpoint.pt", "report/report.json", "README.md"} <= {*kills}
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    names = [
        {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
        for out in (straight, killed)
    ]
    assert names[0] == names[1]
    for name in sorted(names[0]):
        first, second = (out / name for out in (straight, killed))
        if name.suffix == ".pt":
            weights = [torch.load(file, weights_only=True)["model"] for file in (first, second)]
            assert_same(*weights, at=str(name))
        elif name.parent.name != "logs" and name.suffix in (
            *(".safetensors", ".onnx", ".jsonl", ".txt", ".bin", ".idx", ".npy", ".yaml"),
        ):
            assert first.read_bytes() == second.read_bytes(), name
        elif name.name in ("config.json", "tokenizer.json", "commands.sh"):
            assert first.read_text() == second.read_text(), name
    assert quality(straight) == quality(killed)


@pytest.mark.slow
def test_signals_and_a_full_disk_end_it_with_one_line(tmp_path, case):
    """In tools, in training, in the export; a file that may not grow stands for the disk."""
    done = toy.run_module(
        "killed_distil", "ends", tmp_path, "--teacher", case.teacher, "--train", case.train,
        "--dev", case.dev, "--updates", 4, "--layers", 2, "--cpu", "--recipe", "kd", timeout=900,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    *ended, (_, code, _) = found
    assert code == 0 and len(ended) == 9
    for cause, code, text in ended:
        lines = text.strip().splitlines()
        said = lines[-1]
        assert "Traceback" not in text and text.count("\ndistil: ") <= 1, text
        if isinstance(cause, list):
            number = signal.Signals(cause[0])
            assert (code, said) == (128 + number, f"distil: ended by {number.name}"), text
        else:
            assert code == 1 and said.endswith(MORE_SPACE) and said.count(MORE_SPACE) == 1, text
            words = map(os.strerror, (errno.EFBIG, errno.ENOSPC))
            assert any(word in said for word in words) and "unexpected" not in said, text
    assert not [path for path in (tmp_path / "out").rglob("*.tmp")]
