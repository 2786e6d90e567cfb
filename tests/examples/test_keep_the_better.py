"""The choice of the better of two students, on halves of a dev set."""

import json
import re
from types import SimpleNamespace

import keep_the_better
import pytest
import torch
from scipy import stats
from torch.nn.functional import one_hot

from mixkd_plugin.tools.results import Run


def loaded(logits=None, **task):
    cfg = SimpleNamespace(**{"num_classes": 3, "regression_target": False, **task})
    return SimpleNamespace(logits=logits, task=SimpleNamespace(cfg=cfg), multi_label=False)


def score(outputs, targets):
    return keep_the_better.score(loaded(), None, outputs, targets)


def logits(right: float, targets: torch.Tensor) -> torch.Tensor:
    """Of a model that predicts the first share of the examples rightly."""
    wrong = torch.arange(len(targets)) >= right * len(targets)
    return one_hot((targets + wrong) % 3, 3).double()


def test_the_better_half_chooses():
    targets = torch.arange(600) % 3
    values, second = keep_the_better.kept(
        [logits(0.5, targets), logits(0.8, targets)], targets, score, 0.5
    )
    assert values == pytest.approx([50, 80, 80], abs=1) and second == 100
    values, second = keep_the_better.kept([logits(0.5, targets)] * 2, targets, score, 0.5)
    assert values[0] == values[2] and second == 0  # of equals the first
    three = [logits(share, targets) for share in (0.5, 0.6, 0.9)]
    values, second = keep_the_better.kept(three, targets, score, 0.5)
    assert values == pytest.approx([50, 60, 90, 60], abs=1) and second == 100  # not the baseline


def test_few_texts_choose_worse():
    targets = torch.arange(600) % 3
    models = [logits(0.5, targets), logits(0.6, targets)]
    few, half = (keep_the_better.kept(models, targets, score, share)[1] for share in (0.01, 0.5))
    assert 40 < few < 80 < half


def test_what_chose_is_not_scored():
    """Two models, each right where the other is wrong: the one chosen is worse on the rest."""
    targets = torch.arange(400) % 3
    first = logits(0.5, targets)
    second = logits(0.5, targets.flip(0)).flip(0)
    values, _ = keep_the_better.kept([first, second], targets, score, 0.5)
    assert values[0] == pytest.approx(50, abs=1) and values[2] < 49.5


def test_correlation():
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(2))
    regression = loaded(num_classes=1, regression_target=True)
    assert keep_the_better.score(regression, None, 3 * x, x) == pytest.approx(100)
    assert keep_the_better.score(regression, None, -x, x) == pytest.approx(-100)
    with pytest.raises(SystemExit, match="--metric must be one of pearson, spearman, r2, got f1"):
        keep_the_better.score(regression, "f1", x, x)


def test_the_table(tmp_path, monkeypatch, capsys):
    lines = []
    for seed in (1, 2, 3):
        for arm in ("KD", "mine", "base")[: 1 + seed % 2 * 2]:  # the second seed has one checkpoint
            run = Run("T", 0.02, seed, "3-layer", arm, "gold", "recipe")
            folder = tmp_path / "runs" / run.folder
            folder.mkdir(parents=True)
            (folder / "checkpoint_last.pt").touch()
            done = {"status": "done", "metrics": {"valid": {"accuracy": 1.0}}}
            lines.append(json.dumps({**run._asdict(), **done}) + "\n")
    (tmp_path / "results.jsonl").write_text("".join(lines))
    targets = torch.arange(300) % 3

    def evaluation(data, paths, teacher):
        assert data == str(tmp_path / "data/gold/T") and teacher == "KD"
        shares = {"base": 0.4, "KD": 0.5, "mine": 0.8 if "seed1" in paths["KD"] else 0.7}
        return SimpleNamespace(
            loaded={arm: loaded(shares[arm]) for arm in paths},
            batches=dict.fromkeys(paths),
            targets=targets,
            outputs=lambda share, _: logits(share, targets),
        )

    monkeypatch.setattr(keep_the_better, "evaluation", evaluation)
    keep_the_better.main(["--out", str(tmp_path), "--arms", "KD,mine"])
    lines = capsys.readouterr().out.splitlines()
    row = lines[2].split("|")
    assert [cell.strip() for cell in row[1:3]] == ["T, 2%", "2"]
    assert [float(cell) for cell in row[3:8]] == pytest.approx([50, 75, 75, 100, 25], abs=1)
    mean, low, high = map(float, re.findall(r"[+-][\d.]+", lines[-1]))
    wanted = 25, *stats.t.interval(0.95, 1, 25, 5)  # 30 and 20
    assert (mean, low, high) == pytest.approx(wanted, abs=3)
    keep_the_better.main(["--out", str(tmp_path), "--arms", "KD,mine", "--baseline", "base"])
    printed = capsys.readouterr().out
    row = printed.splitlines()[2].split("|")
    assert [float(cell) for cell in row[3:9]] == pytest.approx([50, 75, 40, 75, 100, 35], abs=1)
    assert "kept minus base, 2 seeds: +35" in printed or "kept minus base, 2 seeds: +34" in printed
    with pytest.raises(SystemExit, match=f"--out must be the folder .* got {tmp_path}/none: no"):
        keep_the_better.main(["--out", str(tmp_path / "none")])
    for arms in ("KD", "KD,KD", "KD,a,b"):
        with pytest.raises(SystemExit, match=f"--arms must be two arms, got {arms}"):
            keep_the_better.main(["--out", str(tmp_path), "--arms", arms])
    with pytest.raises(SystemExit, match="--out must have checkpoints of KD, other, got none"):
        keep_the_better.main(["--out", str(tmp_path), "--arms", "KD,other"])
