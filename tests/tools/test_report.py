"""report: cells are those of numpy and scipy, figures are drawn, what is missing is said."""

import re

import numpy as np
import pytest
import synthetic_study as synthetic
from report_tables import report_of, section, table_of

from mixkd_plugin.tools.report import figures


def test_figures_of_the_report(tmp_path, capsys):
    """Cells against numpy and scipy, from the lines themselves."""
    lines = synthetic.study(("SST-2", "MRPC"), (0.01, 0.1), (1, 2, 3, 4), ("FT", "KD", "TMKD"))
    lines = [one for one in lines if (one["arm"], one["seed"]) != ("TMKD", 4)]
    lines += [synthetic.speed("SST-2"), synthetic.failed("SST-2", 0.01, 4, "TMKD")]
    text, _ = report_of(tmp_path, lines)
    assert text in re.sub(" +", " ", capsys.readouterr().out)

    def values(arm, task="SST-2", metric="accuracy"):
        return [
            one["metrics"]["valid"][metric]
            for one in lines
            if one.get("status") == "done"
            and (one["task"], one["fraction"], one["arm"]) == (task, 0.01, arm)
        ]

    quality = table_of(text, "### Quality")
    assert list(quality) == ["teacher", "FT", "KD", "TMKD"]
    assert quality["teacher"]["SST-2, 1%"] == "88.0"
    for arm in ("FT", "KD", "TMKD"):
        ours = values(arm)
        cell = f"{np.mean(ours):.1f} ± {np.std(ours, ddof=1):.1f} ({len(ours)})"
        assert quality[arm]["SST-2, 1%"].strip("*") == cell
    best = max(("FT", "KD", "TMKD"), key=lambda arm: np.mean(values(arm)))
    assert [arm for arm in quality if "**" in quality[arm]["SST-2, 1%"]] == [best]
    assert quality["FT"]["MRPC, 1%"].startswith(
        f"{np.mean(values('FT', 'MRPC', 'acc_and_f1')):.1f}"
    )

    ours, theirs = values("TMKD"), values("KD")[:3]
    low, high = synthetic.interval(ours, theirs)
    cell = table_of(text, "### Difference to KD")["SST-2, 1%"]["TMKD"]
    won = sum(a > b for a, b in zip(ours, theirs))
    difference = np.mean(np.subtract(ours, theirs))
    assert cell.lstrip("▲▼ ") == f"{difference:+.1f} [{low:+.1f}, {high:+.1f}], {won}/3"
    assert cell[0] not in "▲▼" or low > 0 or high < 0  # Holm's correction takes marks away
    assert table_of(text, "### Difference to FT")["all"]["KD"].endswith("/4, 4 cells")

    share = table_of(text, "### Share of the teacher's quality")["TMKD"]["SST-2, 1%"]
    assert share == f"{100 * np.mean(ours) / 88:.1f}"
    gaps = [one["metrics"]["valid"]["loss"] - one["metrics"]["train"]["loss"] for one in lines
            if one.get("status") == "done"
            and (one["task"], one["fraction"], one["arm"]) == ("SST-2", 0.01, "KD")]  # fmt: skip
    cell = f"{np.mean(gaps):.3f} ± {np.std(gaps, ddof=1):.3f} (4)"
    assert table_of(text, "### Generalisation gap")["KD"]["SST-2, 1%"] == cell
    assert "| SST-2 | 3-layer | 3 (0.50) | 17,569,724 (0.77) | 70.3 (0.77) | 433 (1.92) |" in text
    assert "| SST-2, 1% | 673 | 250 | 8,000 | 8,000 | 8,000 |" in text
    assert "| SST-2 | 0.01 | 4 | 3-layer | TMKD | gold | recipe | exit 1" in text
    assert "1e9 \\| too high" in text


@pytest.mark.slow
def test_pictures_are_there_and_not_blank(tmp_path):
    lines = synthetic.study(["SST-2"], (0.01, 0.1), (1, 2, 3), ("FT", "KD", "SM+TMKD"))
    lines += [synthetic.run("SST-2", 0.01, 1, "KD", data="back-translated")]
    lines += [synthetic.run("SST-2", 0.01, seed, "a new arm") for seed in (1, 2)]
    lines += synthetic.ablated("mixup-ratio", ("2", "4"), ["SM+TMKD"])
    lines += synthetic.ablated("init", ("encoder",), ["KD", "SM+TMKD"])
    text, out = report_of(tmp_path, lines, draw=True)
    names = "learning_curves fractions differences gap gap_fractions mixes"
    changed = {f"ablation_{key}" for key in ("mixup-ratio", "init")}
    assert {f.stem for f in out.glob("*.png")} == {*names.split(), *changed}
    from matplotlib import image

    for file in out.glob("*.png"):
        assert f"]({file.name})" in text
        pixels = image.imread(file)[:, :, :3]
        assert 0.01 < (pixels < 0.95).any(axis=2).mean() < 0.5
        assert len(np.unique((255 * pixels).astype(int) @ [65536, 256, 1])) > 50
    base, changed = (
        [synthetic.accuracy("SST-2", 0.01, seed, "KD", variant=variant) for seed in (1, 2, 3)]
        for variant in ("recipe", "init=encoder")
    )
    low, high = synthetic.interval(changed, base)
    row = next(row for row in section(text, "### `init`, student 3-layer").splitlines()
               if row.startswith("| KD | encoder |"))  # fmt: skip
    assert f"{np.mean(np.subtract(changed, base)):+.1f} [{low:+.1f}, {high:+.1f}]" in row


def test_ablations_name_teachers_where_they_are_others(tmp_path):
    """A student's fall under `teacher-on=part` may be its teacher's own."""
    lines = synthetic.study(["SST-2"], [0.01], (1, 2, 3), ("KD",))
    lines += synthetic.ablated("lr", ("1", "2"), ["KD"])
    weak = synthetic.ablated("teacher-on", ("part",), ["KD"])
    for seed, line in enumerate(weak):
        line["teacher"] = {**line["teacher"], "metrics": {"valid": {"accuracy": 70.0 + seed}}}
    text, _ = report_of(tmp_path, [*lines, *weak])
    found = section(text, "### `teacher-on`, student 3-layer").splitlines()
    assert "| teacher | recipe | 88.0 |" in found and "| teacher | part | 71.0 |" in found
    assert "| teacher |" not in section(text, "### `lr`, student 3-layer")


def test_a_teacher_is_drawn_once_for_a_seed(tmp_path, monkeypatch):
    """Its bars are over seeds: the arms, which share a seed's teacher, are no more of them."""
    drawn = {}

    def draw(points, _axes, _out, name, *_others, **_more):
        drawn[name] = points[points["label"] == "teacher"][["x", "seed", "value"]].values.tolist()
        return ""

    monkeypatch.setattr(figures, "_lines", draw)
    lines = synthetic.study(["SST-2"], (0.01, 0.1), (1, 2, 3), ("FT", "KD", "TMKD"))
    for line in lines:
        score = 80.0 + line["seed"] + 5 * (line["fraction"] == 0.1)
        line["teacher"] = {"metrics": {"valid": {"accuracy": score}}}
    text, _ = report_of(tmp_path, lines)
    wanted = [[x, seed, mean + seed] for x, mean in ((1, 80), (10, 85)) for seed in (1, 2, 3)]
    assert sorted(drawn["fractions"]) == wanted
    assert table_of(text, "### Quality")["teacher"] == {"SST-2, 1%": "82.0", "SST-2, 10%": "87.0"}


def test_gap_figures_have_the_cells_means(tmp_path, monkeypatch):
    """What is drawn against fraction and mixes per example, from the lines themselves."""
    drawn = {}

    def draw(points, axes, *_others, **_more):
        drawn[axes[0]] = points.set_index(["panel", "label", "x", "seed"])["value"].to_dict()
        return ""

    monkeypatch.setattr(figures, "_lines", draw)
    lines = synthetic.study(["MRPC"], (0.01, 0.1), (1, 2), ("FT", "KD", "TMKD"))
    lines = [{**one, "teacher_queries": 0} if one["arm"] == "FT" else one for one in lines]
    lines += synthetic.ablated("mixup-ratio", ("3",), ["TMKD"], ["MRPC"], (1, 2))
    report_of(tmp_path, lines)

    def gap(key, *names, **more):
        metrics = synthetic.run(*names, **more)["metrics"]
        return metrics["valid"][key] - metrics["train"][key]

    of_fractions = drawn["part of the training set, %"]
    gaps = {
        "label loss": ("loss", ("FT", "KD", "TMKD")),
        "teacher distance": ("kd_loss", ("KD", "TMKD")),
    }
    wanted = {
        (f"MRPC\n{name}", arm, percent, seed): gap(key, "MRPC", percent / 100, seed, arm)
        for name, (key, arms) in gaps.items()
        for arm in arms for percent in (1, 10) for seed in (1, 2)
    }  # fmt: skip
    assert of_fractions == pytest.approx(wanted)
    of_mixes = drawn["mixes per example"]
    places = {
        (label, x) for panel, label, x, _ in of_mixes if panel == "MRPC, 1%\nteacher distance"
    }
    assert places == {("TMKD", 1), ("TMKD", 3), ("KD", 0)}
    other = gap("kd_loss", "MRPC", 0.01, 2, "TMKD", variant="mixup-ratio=3")
    assert of_mixes["MRPC, 1%\nteacher distance", "TMKD", 3, 2] == pytest.approx(other)
