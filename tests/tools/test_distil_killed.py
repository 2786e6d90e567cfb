"""`distil`, killed with SIGKILL wherever it writes, goes on and ends as if it never had been."""

import json

import classifiers
import hf_models
import pytest
import torch
import toy
from same_end import assert_same

import mixkd_plugin  # noqa: F401  (what checkpoints may hold)

STEPS = (
    *("texts", "teacher", "data", "teacher_score", "trial", "teacher_logits", "runs/mixkd-1"),
    *("runs/kd-1", "exports/hf", "exports/onnx-int8", "serving"),
)
SPEEDS = {"p50", "p95", "sentences_per_second"}


def quality(out):
    """report.json without what is measured by a clock."""
    report = json.loads((out / "report" / "report.json").read_text())
    for row in report["models"].values():
        assert {*row} > SPEEDS
        for key in SPEEDS:
            del row[key]
    return report


@pytest.mark.slow
def test_kills_at_every_step(tmp_path, monkeypatch):
    transformers = hf_models.import_transformers(monkeypatch)
    case = classifiers.make_case(
        tmp_path / "case", transformers, names=["neg", "pos"], sizes=(40, 24)
    )
    done = toy.run_module(
        "killed_distil", tmp_path, "--teacher", case.teacher, "--train", case.train, "--dev",
        case.dev, "--updates", 4, "--layers", 2, "--cpu", "--int8", timeout=1800,
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
