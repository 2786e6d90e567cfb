"""report: studies of one seed, one arm, several students or settings, and files that are none."""

import re
import subprocess
import sys

import numpy as np
import pytest
import synthetic_study as synthetic
from refusals import error_of
from report_tables import report_of, section, table_of

from mixkd_plugin.tools.report import main, sections
from mixkd_plugin.tools.report.report import overview
from mixkd_plugin.tools.results import read_results


def test_bad_input(tmp_path):
    def refuse(message, *arguments):
        said = error_of(main, *arguments, "--out", tmp_path / "out")
        assert said.startswith("report: ") and message in said
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


def test_cells_whose_teacher_has_not_learned_are_not_pooled(tmp_path):
    """A teacher of 88 is above a constant answer of 50.9, and not above one of 83.5."""
    lines = synthetic.study(("SST-2", "RTE"), (0.1,), (1, 2, 3), ("FT", "KD"))
    for line in lines:
        score = 50.9 if line["task"] == "SST-2" else 83.5
        line["constant"] = {"valid": {"accuracy": score}}
    text, _ = report_of(tmp_path, lines)
    cells = table_of(text, "### Difference to FT")
    assert cells["all"]["KD"].lstrip("▲ ") == f"{cells['SST-2, 10%']['KD'].lstrip('▲ ')}, 1 cell"
    assert "[" in cells["RTE, 10%"]["KD"]
    left_out = section(text, "### Difference to FT").partition("leaves out")[2]
    assert "RTE, 10% (88.0 and 83.5)" in left_out and "SST-2" not in left_out.partition("|")[0]
    for line in lines:
        line["constant"] = {"valid": {"accuracy": 83.0}}  # 5 points are enough
    text, _ = report_of(tmp_path, lines)
    assert "leaves out" not in text
    assert table_of(text, "### Difference to FT")["all"]["KD"].endswith(", 2 cells")


def test_f1_has_a_table_where_a_task_has_accuracy_too(tmp_path):
    lines = synthetic.study(("R52", "MRPC", "SST-2"), (0.1,), (1, 2), ("FT", "KD"))
    assert "### F1" not in report_of(tmp_path, lines)[0]
    for line in lines:
        if line["task"] != "SST-2":
            line["metrics"]["valid"]["f1"] = 10.0 * line["seed"]
    found = table_of(report_of(tmp_path, lines)[0], "### F1")
    assert found == {arm: {"R52, 10%": "15.0 ± 7.1 (2)"} for arm in ("FT", "KD")}


def test_the_metric_that_is_named_is_that_of_the_table(tmp_path):
    """Of all runs of a task and fraction, as the values are: here another student lacks one."""
    lines = synthetic.study(["MRPC"], [0.1, 1], [1, 2], ("FT", "KD"))
    other = synthetic.run("MRPC", 0.1, 1, "FT", student="other")
    text, _ = report_of(tmp_path, [*lines, other])
    both = "mean of accuracy and F1 (MRPC)"
    assert both in text and "accuracy (MRPC)" not in text
    del other["metrics"]["valid"]["acc_and_f1"]
    text, _ = report_of(tmp_path, [*lines, other])
    of_student, of_other = text.split("## Student ")[1:]
    assert both in of_student and " accuracy (MRPC)" in of_student
    assert both not in of_other and " accuracy (MRPC)" in of_other


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
        where = f"--save-dir OUT{seed}/runs/KD/seed{seed}"  # a folder is no setting
        line["command"] = f"fairseq-train OUT/data --lr 1 {seeds} {where}"
    assert "other settings" not in report_of(tmp_path, lines)[0]
    lines[1]["command"] = lines[1]["command"].replace("--lr 1", "--lr 2")
    text, _ = report_of(tmp_path, lines)
    assert "Seeds of SST-2/0.1/gold/3-layer/KD/recipe have other settings (--lr 1, --lr 2)" in text


def test_arms_of_two_teachers_or_settings_are_named(tmp_path):
    """As where a study was changed and one of its arms done again; each has its own teacher."""
    arms = {
        "FT": "--kd-weight 0 --batch-size 32 --cpu",
        "KD": "--kd-weight 1 --batch-size 32",
        "TMKD": "--kd-weight 0 --batch-size 16 --mixup-kind splice",
    }
    lines = synthetic.study(("SST-2", "RTE"), [0.1], (1, 2), arms)
    for line in lines:
        line["command"] = f"fairseq-train OUT/data --weight-decay 0.01 {arms[line['arm']]}"
        line["files"] = ["teacher", "encoder"]
    again = [line for line in lines if (line["task"], line["arm"]) == ("RTE", "KD")]
    assert "**" not in overview(read_results([synthetic.write(tmp_path / "a", lines)]))
    again[0]["files"] = ["other teacher", "encoder"]
    for line in again:
        line["command"] = line["command"].replace("0.01", "0.5")
        line["teacher"] = {"metrics": {"valid": {"accuracy": 44.0}}}
    text, _ = report_of(tmp_path, lines)
    assert "Arms of RTE/0.1/3-layer/recipe have other teachers." in text
    flags = "--weight-decay 0.01, --weight-decay 0.5"
    assert f"**Arms of RTE/0.1/3-layer/recipe have other settings ({flags}).**" in text
    shares = table_of(text, "### Share of the teacher's quality")
    for arm, teacher in (("FT", 88), ("KD", 44)):
        mean = np.mean([synthetic.accuracy("RTE", 0.1, seed, arm) for seed in (1, 2)])
        assert shares[arm]["RTE, 10%"] == f"{100 * mean / teacher:.1f}"
    for line in lines:
        del line["files"]  # as earlier versions
    assert "RTE/0.1/3-layer/recipe have other teachers." in report_of(tmp_path, lines)[0]


@pytest.mark.parametrize(
    "change, count",
    [
        ({}, 0),
        ({"seconds": 1.0}, 0),
        ({"command": "fairseq-train --lr 2"}, 2),
        ({"data_digest": "other"}, 2),
        ({"metrics": {"valid": {"accuracy": 12.0}}}, 2),
        ({"seed": 9}, 0),
        ({"arm": "teacher"}, 0),
    ],
)
def test_runs_that_another_file_replaces_are_counted(tmp_path, change, count):
    """Also if a run differs from itself within a file: its last line counts."""
    lines = [synthetic.run("SST-2", 0.1, seed, "KD") for seed in (1, 2, 3)]
    again = [{**line, **change} for line in lines[:2]]
    files = [synthetic.write(tmp_path / "a", lines)]
    files.append(synthetic.write(tmp_path / "b", [lines[0], *again]))
    replaced = {tuple(files): count} if count else {}
    results = read_results(files)
    assert results.replaced == replaced and read_results(files[:1]).replaced == {}
    (line,) = [line for line in overview(results).splitlines() if str(tmp_path) in line] or [""]
    assert bool(count) == all(path in line for path in files)
    assert line.strip("*.").endswith(f": {count}" if count else "")


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


def test_an_arm_of_one_variant_alone(tmp_path):
    """The lines of the unchanged recipe, at two fractions, lack one of the arms."""
    lines = synthetic.study(["SST-2"], [0.01, 0.1], [1, 2], ("KD",))
    lines += synthetic.ablated("min-updates", (800,), ("KD", "TMKD"), seeds=(1, 2))
    text, _ = report_of(tmp_path, lines)
    assert "TMKD" not in table_of(text, "### Quality")
    assert "| TMKD" in text.partition("## Ablations")[2]
