"""A study whose students have a distance and an encoder of another package."""

import json
import subprocess

import pytest
from small_study import small_study
from toy import ROOT


@pytest.mark.slow
def test_a_distance_and_an_encoder_of_ones_own_are_an_arm(tmp_path, venv):
    command = small_study(
        venv, tmp_path, "seeds=[1]", "arms=[KD]", "user_dir=examples/extend/my_mixkd",
        "+settings.students.cnn={arch: my_cnn, init: scratch, lr: 1e-3}", "students=[cnn]",
        "variants=['distill-distance=cosine']",
    )  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("1 done\n"), done.stdout + done.stderr
    assert "failed" not in done.stdout  # speeds are measured, too
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    (line,) = [line for line in map(json.loads, lines) if line.get("arm") == "KD"]
    assert line["student"] == "cnn" and line["layers"] == 0 and line["examples"] == 32
    assert "--user-dir my_mixkd" in line["command"] and line["metrics"]["valid"]["kd_loss"] > 0
