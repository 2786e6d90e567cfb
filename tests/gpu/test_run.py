"""What the script for a machine with a GPU makes of its parts, and of a machine without one."""

import json
import os

import pytest
import run
import torch

WRITES = "import json, sys; json.dump([{'check': 'a', 'error': 0.5}], open(sys.argv[1], 'w'))"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Run it with arguments; (exit code, its JSON, its page)."""

    def start(*arguments):
        monkeypatch.setattr("sys.argv", ["run.py", str(tmp_path), *arguments])
        code = run.main()
        results = json.loads((tmp_path / "gpu.json").read_text())
        return code, results, (tmp_path / "gpu.md").read_text()

    return start


def test_without_a_gpu_every_part_is_skipped(started, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, results, page = started()
    assert code == 0 and "No GPU" in capsys.readouterr().out
    assert {part["status"] for part in results["parts"].values()} == {"skipped"}
    assert page.count("skipped") == len(run.SECONDS)


def test_a_part_that_fails_or_hangs_stops_no_other(started, monkeypatch, tmp_path):
    codes = {
        "tests": ["-c", "raise SystemExit(3)"],
        "curves": ["-c", "import os, time; print(os.getpid(), flush=True); time.sleep(99)"],
        "parity": ["-c", WRITES, tmp_path / "parity.json"],
        "benchmark": ["-c", "pass"],
    }
    monkeypatch.setattr(run, "command_of", lambda part, out, toy: codes[part])
    monkeypatch.setitem(run.SECONDS, "curves", 1)
    code, results, page = started("--toy")
    assert code == 1
    status = {part: row["status"] for part, row in results["parts"].items()}
    assert status == {
        "tests": "failed with exit code 3", "curves": "failed: timed out", "parity": "passed",
        "benchmark": "passed",
    }  # fmt: skip
    assert results["figures"] == {"parity": [{"check": "a", "error": 0.5}]}
    assert "| a | 0.5 |" in page
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "curves.log").read_text()), 0)


def test_all_parts_together_take_less_than_8_minutes():
    assert sum(run.SECONDS.values()) < 480
