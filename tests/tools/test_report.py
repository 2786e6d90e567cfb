"""report: cells are those of numpy and scipy, figures are drawn, what is missing is said."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import synthetic_study as synthetic

from mixkd_plugin.tools.report import figures, main, sections


@contextlib.contextmanager
def empty_pictures():
    """Figures are chosen and named, and not drawn."""
    grid = mock.MagicMock(savefig=lambda path, **_: Path(path).touch())
    plots = {"relplot.return_value": grid, "catplot.return_value": grid}
    with mock.patch.multiple(figures, sns=mock.MagicMock(**plots), pyplot=mock.MagicMock()):
        yield


def report_of(tmp_path, lines, *flags, draw=False):
    """The report's text, and the folder with its figures: empty files, unless ``draw``."""
    out = tmp_path / "out"
    with contextlib.nullcontext() if draw else empty_pictures():
        results = synthetic.write(tmp_path / "results.jsonl", lines)
        main([results, "--out", str(out), "--force", *flags])
    return re.sub(" +", " ", (out / "report.md").read_text(encoding="utf-8")), out


def section(text, heading):
    return text.split(f"{heading}\n")[1].split("\n#")[0]


def table_of(text, heading):
    """{row: {column: cell}} of the first table under a heading."""
    table = re.search(r"^\|.*?(?=\n\n|\Z)", section(text, heading), re.DOTALL | re.MULTILINE)
    rows = table.group().strip().splitlines()
    header, _, *rows = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    return {row[0]: dict(zip(header[1:], row[1:])) for row in rows}


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
    assert (cell[0] in "▲▼") == (low > 0 or high < 0)
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


def test_bad_input(tmp_path):
    def refuse(message, *arguments):
        with pytest.raises(SystemExit) as error:
            main([*map(str, arguments), "--out", str(tmp_path / "out")])
        assert str(error.value).startswith("report: ")
        assert message in str(error.value)
        assert not (tmp_path / "out").exists()

    good = synthetic.write(tmp_path / "good", [synthetic.run("SST-2", 0.01, 1, "FT")])
    (tmp_path / "empty").write_text("")
    (tmp_path / "text").write_text("accuracy 80\n{}\n")
    (tmp_path / "list").write_text("[1]\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    refuse("none: No such file", tmp_path / "none")
    refuse("binary, line 1: ", tmp_path / "binary")
    refuse("empty must hold results of a study", good, tmp_path / "empty")
    refuse("text, line 1: ", tmp_path / "text")
    refuse("list, line 1: a line must be an object, got list", tmp_path / "list")
    refuse("--baselines must be of FT, got KD", good, "--baselines", "FT,KD")
    with pytest.raises(SystemExit, match="--out must be a writable folder.*text"):
        main([good, "--out", str(tmp_path / "text")])


def test_who_never_asked_the_teacher_has_no_distance_gap(tmp_path):
    lines = synthetic.study(["SST-2"], [0.1], [1, 2], ("FT", "KD"))
    for line in lines:
        line["teacher_queries"] *= line.get("arm") != "FT"
    gaps = section(report_of(tmp_path, lines)[0], "### Generalisation gap")
    label_loss, distance, _ = re.split("Teacher distance|Expected", gaps)
    assert "| FT |" in label_loss and "| FT |" not in distance
    assert "| KD |" in distance


def test_one_seed_has_no_interval(tmp_path):
    text, out = report_of(tmp_path, synthetic.study(["SST-2"], [0.1], [7], ("FT", "KD")))
    cell = table_of(text, "### Difference to FT")["SST-2, 10%"]["KD"]
    assert re.fullmatch(r"[+-]\d\.\d no interval, [01]/1", cell)
    assert re.fullmatch(r"\**\d\d\.\d \(1\)\**", table_of(text, "### Quality")["KD"]["SST-2, 10%"])
    assert (out / "differences.png").exists()
    assert not (out / "fractions.png").exists()


def test_one_arm_has_nothing_to_compare_with(tmp_path):
    line = synthetic.run("CoLA", 1, 1, "TMKD-only")
    for key in ("curve", "teacher", "layers", "mixes_per_example"):
        del line[key]
    text, out = report_of(tmp_path, [line])
    assert "Difference" not in text
    assert list(table_of(text, "### Quality")) == ["TMKD-only"]
    assert not list(out.glob("*.png"))


def test_failures_alone_are_a_report(tmp_path):
    text, out = report_of(tmp_path, [synthetic.failed("SST-2", 0.1, 1, "FT")])
    assert "## Failures" in text
    assert "## Student" not in text


def test_students_have_figures_of_their_own(tmp_path):
    lines = [
        synthetic.run("SST-2", 0.1, 1, arm, student=student)
        for arm in ("FT", "KD")
        for student in ("3-layer", "4/6")
    ]
    text, out = report_of(tmp_path, lines, "--baselines", "FT")
    assert "## Student 4/6\n" in text
    for student in ("3-layer", "4_6"):
        assert (out / f"differences-{student}.png").exists()


def test_a_cell_of_two_settings_is_named(tmp_path):
    """As where a study was changed and a part of its seeds done again."""
    lines = [synthetic.run("SST-2", 0.1, seed, "KD") for seed in (1, 2)]
    for line in lines:
        seed = line["seed"]
        seeds = f"--seed {seed} --train-fraction-seed {seed}"
        line["command"] = f"fairseq-train OUT/data --lr 1 {seeds} --save-dir OUT/runs/KD/seed{seed}"
    assert "other settings" not in report_of(tmp_path, lines)[0]
    lines[1]["command"] = lines[1]["command"].replace("--lr 1", "--lr 2")
    text, _ = report_of(tmp_path, lines)
    assert "Seeds of SST-2/0.1/gold/3-layer/KD/recipe have other settings (--lr 1, --lr 2)" in text


def test_an_ablation_is_also_beside_the_baseline(tmp_path):
    lines = [
        synthetic.run("SST-2", 0.1, seed, arm, variant=variant)
        for seed in (1, 2, 3)
        for arm in ("KD", "TMKD-only")
        for variant in ("recipe", "init=encoder")
    ]
    text, _ = report_of(tmp_path, lines, "--baselines", "KD")
    cell = table_of(text, "Difference to KD with the same `init`:")["TMKD-only"]["SST-2, 10%"]
    values = {
        arm: [
            line["metrics"]["valid"]["accuracy"]
            for line in lines
            if (line["arm"], line["variant"]) == (arm, "init=encoder")
        ]
        for arm in ("KD", "TMKD-only")
    }
    assert cell.lstrip("▲▼ ").startswith(
        f"{np.mean(values['TMKD-only']) - np.mean(values['KD']):+.1f} ["
    )


@pytest.mark.slow
def test_without_the_extra_it_is_one_sentence(tmp_path):
    words = ["report", synthetic.write(tmp_path / "r.jsonl", []), "--out", str(tmp_path / "out")]
    script = f"import runpy, sys; sys.modules['seaborn'] = None; sys.argv = {words}\n"
    script += "runpy.run_module('mixkd_plugin.tools.report', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    last = "this needs seaborn: pip install 'mixkd_plugin[report]'"
    assert done.stderr.splitlines()[-1] == last


def test_baselines_on_other_data():
    assert sections.baseline_label("KD", ["FT", "KD", "KD, back-translated"]) == "KD"
    assert sections.baseline_label("KD", ["FT", "KD, back-translated"]) == "KD, back-translated"
    assert sections.baseline_label("SM", ["SM+TMKD"]) is None
