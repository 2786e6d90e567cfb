"""The choice of the better of two students, on halves of a dev set."""

from types import SimpleNamespace

import keep_the_better
import pytest
import torch
from torch.nn.functional import one_hot


def logits(right: float, targets: torch.Tensor) -> torch.Tensor:
    """Of a model that predicts the first share of the examples rightly."""
    wrong = torch.arange(len(targets)) >= right * len(targets)
    return one_hot((targets + wrong) % 3, 3).double()


def test_the_better_half_chooses():
    targets = torch.arange(600) % 3
    values, second = keep_the_better.kept(
        [logits(0.5, targets), logits(0.8, targets)], targets, False
    )
    assert values == pytest.approx([50, 80, 80], abs=1) and second == 100
    values, second = keep_the_better.kept([logits(0.5, targets)] * 2, targets, False)
    assert values[0] == values[2] and second == 0  # of equals the first


def test_what_chose_is_not_scored():
    """Two models, each right where the other is wrong: the one chosen is worse on the rest."""
    targets = torch.arange(400) % 3
    first = logits(0.5, targets)
    second = logits(0.5, targets.flip(0)).flip(0)
    values, _ = keep_the_better.kept([first, second], targets, False)
    assert values[0] == pytest.approx(50, abs=1) and values[2] < 49.5


def test_correlation():
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(2))
    assert keep_the_better.score(3 * x, x, True) == pytest.approx(100)
    assert keep_the_better.score(-x, x, True) == pytest.approx(-100)


def test_the_table(tmp_path, monkeypatch, capsys):
    for seed in (1, 2):
        for arm in ("KD", "mine")[: 3 - seed]:  # the second seed has one checkpoint
            folder = tmp_path / f"runs/T/0.02/gold/3-layer/{arm}/recipe/seed{seed}"
            folder.mkdir(parents=True)
            (folder / "checkpoint_last.pt").touch()
    targets = torch.arange(300) % 3

    def evaluation(data, paths, teacher):
        assert data == str(tmp_path / "data/gold/T") and teacher == "KD"
        shares = {"KD": 0.5, "mine": 0.8}
        loaded = {
            arm: SimpleNamespace(
                logits=shares[arm],
                task=SimpleNamespace(cfg=SimpleNamespace(regression_target=False)),
            )
            for arm in paths
        }
        return SimpleNamespace(
            loaded=loaded, batches=dict.fromkeys(paths), targets=targets,
            outputs=lambda share, _: logits(share, targets),
        )  # fmt: skip

    monkeypatch.setattr(keep_the_better, "evaluation", evaluation)
    keep_the_better.main(["--out", str(tmp_path), "--arms", "KD,mine"])
    row = capsys.readouterr().out.splitlines()[2].split("|")
    assert [cell.strip() for cell in row[1:3]] == ["T, 2%", "1"]
    assert [float(cell) for cell in row[3:8]] == pytest.approx([50, 80, 80, 100, 30], abs=1)
    with pytest.raises(SystemExit, match="--out must have checkpoints of KD,other, got none"):
        keep_the_better.main(["--out", str(tmp_path), "--arms", "KD,other"])
