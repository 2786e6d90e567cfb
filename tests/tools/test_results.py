"""Results of a study: lines replace each other, statistics are those of numpy and scipy."""

import json
import re

import numpy as np
import pytest
import synthetic_study as synthetic
from scipy import stats

from mixkd_plugin.tools.report import tables
from mixkd_plugin.tools.report.results import append_result, read_results
from mixkd_plugin.tools.report.statistics import paired_difference, pooled_difference, summarize


def results_of(tmp_path, *lines):
    return read_results([synthetic.write(tmp_path / "results.jsonl", lines)])


def test_summary_is_numpys():
    values = [81.2, 80.0, 83.5]
    mean, sd, n = summarize(values)
    assert (mean, sd, n) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        3,
    )
    assert summarize(values).standard_error == pytest.approx(stats.sem(values))
    assert summarize([80.0]) == (80.0, None, 1)


def test_paired_interval_is_scipys():
    ours, theirs = {1: 81.0, 2: 82.5, 3: 80.1, 4: 84.0}, {1: 80.0, 2: 83.0, 3: 78.2, 4: 81.5}
    difference = paired_difference(ours, theirs)
    wanted = synthetic.interval(list(ours.values()), list(theirs.values()))
    assert (difference.low, difference.high) == pytest.approx(wanted)
    assert difference.mean == pytest.approx(1.225)
    assert (difference.n, difference.won) == (4, 3)
    assert not difference.excludes_zero
    assert paired_difference({s: v + 9 for s, v in ours.items()}, theirs).excludes_zero


def test_only_seeds_of_both_are_paired():
    difference = paired_difference({1: 1.0, 2: 5.0, 9: 100.0}, {2: 1.0, 1: 0.0, 7: -100.0})
    assert (difference.mean, difference.n) == (2.5, 2)
    assert paired_difference({1: 1.0}, {2: 1.0}) is None
    one = paired_difference({1: 1.0}, {1: 3.0})
    assert one == (-2.0, None, None, 1, 0)
    assert not one.excludes_zero
    diverged = paired_difference({1: float("nan"), 2: 1.0}, {1: 0.0, 2: 0.0})
    assert not diverged.excludes_zero


def test_pooled_means_are_over_the_same_cells():
    """A seed that lacks a cell is left out, lest its mean be of other tasks."""
    random = np.random.default_rng(0)
    ours, theirs = (
        {
            cell: {seed: random.normal(level) for seed in (1, 2, 3, 4)}
            for cell, level in (("a", 0), ("b", 50))
        }
        for _ in range(2)
    )
    del ours["b"][3]
    pooled = pooled_difference(ours, theirs)
    means = [[(t["a"][s] + t["b"][s]) / 2 for s in (1, 2, 4)] for t in (ours, theirs)]
    assert (pooled.difference.low, pooled.difference.high) == pytest.approx(
        synthetic.interval(*means)
    )
    assert (pooled.difference.n, pooled.cells) == (3, 2)
    ours["b"] = {1: 0.0}  # now four seeds of one cell are more pairs than one seed of two
    pooled = pooled_difference(ours, theirs)
    assert (pooled.difference.n, pooled.cells) == (4, 1)
    assert pooled.difference == paired_difference(ours["a"], theirs["a"])
    assert pooled_difference({"a": {1: 0.0}}, {"a": {2: 0.0}, "b": {1: 0.0}}) is None


# --- reading ---


def test_later_lines_win_and_failures_only_count_without_a_result(tmp_path):
    first = synthetic.run("SST-2", 0.01, 1, "FT")
    again = {**first, "metrics": {"valid": {"accuracy": 12.0}}}
    lines = [first, synthetic.failed("SST-2", 0.01, 1, "FT"), again]
    lines += [synthetic.failed("SST-2", 0.01, 2, "FT"), synthetic.failed("SST-2", 0.01, 3, "FT")]
    files = [synthetic.write(tmp_path / "a", lines)]
    files.append(synthetic.write(tmp_path / "b", [synthetic.run("SST-2", 0.01, 3, "FT")]))
    results = read_results(files)
    assert [(r.run.seed, r.record["metrics"]["valid"]["accuracy"]) for r in results.done][0] == (
        1,
        12,
    )
    assert {r.run.seed for r in results.done} == {1, 3}
    assert [r.run.seed for r in results.failed] == [2]
    assert len(read_results(files[::-1]).done) == 2


def test_lines_about_teachers_name_no_student(tmp_path):
    teacher = {"task": "SST-2", "fraction": 1.0, "seed": 1, "arm": "teacher", "status": "done",
               "metrics": {"valid": {"accuracy": 90.0}}}  # fmt: skip
    results = results_of(tmp_path, teacher, synthetic.run("SST-2", 1, 1, "FT"))
    assert len(results.teachers) == len(results.done) == 1


def test_a_cut_off_last_line_is_left_out_and_written_over(tmp_path, caplog):
    path = tmp_path / "results.jsonl"
    line = json.dumps(synthetic.run("SST-2", 0.01, 1, "FT"))
    path.write_text(f"{line}\n{line[:99]}")
    assert len(read_results([str(path)]).done) == 1
    assert f"{path}, line 2: cut off" in caplog.text
    append_result(str(path), synthetic.run("SST-2", 0.01, 2, "FT"))
    append_result(str(path), synthetic.run("SST-2", 0.01, 3, "FT"))
    assert [r.run.seed for r in read_results([str(path)]).done] == [1, 2, 3]
    path.write_text(line)  # whole but for the line's end
    assert len(read_results([str(path)]).done) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": None}, "line 2: 'seed' is None; allowed: a whole number"),
        ({"fraction": "1%"}, "line 2: 'fraction' is '1%'; allowed: a number"),
        ({"status": "half"}, "line 2: status 'half'; allowed: done, failed"),
        ({"kind": "seed"}, "line 2: kind 'seed'; allowed: speed, or none"),
        ({"metrics": {"valid": {"mcc": 1.0}}}, "line 2: no 'accuracy'"),
        ({"metrics": {"train": {}}}, "line 2: no 'valid'"),
        ({"teacher": {"layers": 6}}, "line 2: no 'metrics'"),
        ({"curve": [{"epoch": 1}]}, "line 2: no 'updates'"),
        ({"student": ...}, "line 2: no 'student'"),
    ],
)
def test_bad_lines(tmp_path, change, message):
    good = synthetic.run("SST-2", 0.01, 1, "FT")
    bad = {key: value for key, value in {**good, **change}.items() if value is not ...}
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        results_of(tmp_path, good, bad)
    assert str(tmp_path / "results.jsonl") in str(error.value)


# --- arranging ---


def test_tables_hold_the_task_s_metric_by_seed(tmp_path):
    lines = synthetic.study(("SST-2", "MRPC", "MNLI", "CoLA"), (0.1, 0.01), (1, 2), ("KD", "FT"))
    results = results_of(tmp_path, *lines).done
    columns = tables.columns(results)
    assert [c.name for c in columns] == [
        "SST-2, 1%", "SST-2, 10%", "MRPC, 1%", "MRPC, 10%", "MNLI-m, 1%", "MNLI-mm, 1%",
        "MNLI-m, 10%", "MNLI-mm, 10%", "CoLA, 1%", "CoLA, 10%",
    ]  # fmt: skip
    table = tables.tabulate(results, columns, tables.headline)
    assert list(table) == ["FT", "KD"]
    metrics = {"MRPC": "acc_and_f1", "CoLA": "mcc"}
    for line in lines:
        for column in columns:
            if line["task"] == column.task and line["fraction"] == column.fraction:
                value = line["metrics"][column.split][metrics.get(column.task, "accuracy")]
                assert table[line["arm"]][column][line["seed"]] == value
    halves = tables.mean_over_splits(table["FT"])["MNLI", 0.01]
    both = [table["FT"][c][1] for c in columns if c[:2] == ("MNLI", 0.01)]
    assert halves[1] == pytest.approx(np.mean(both))


def test_accuracy_where_a_run_has_no_f1(tmp_path):
    lines = [synthetic.run("MRPC", 0.1, seed, "FT") for seed in (1, 2)]
    del lines[0]["metrics"]["valid"]["acc_and_f1"]
    assert tables.columns(results_of(tmp_path, *lines).done)[0].metric == "accuracy"


def test_variants_are_taken_apart(tmp_path):
    variants = ("mixup-alpha=10", "mixup-alpha=2", "lr=1e-4,kd-weight=0", "layers=0,2,4")
    lines = [synthetic.run("SST-2", 0.1, 1, "FT", variant=variant) for variant in variants]
    found = tables.ablations(results_of(tmp_path, *lines).done)["3-layer"]
    assert {key: list(values) for key, values in found.items()} == {
        "mixup-alpha": ["2", "10"],
        "lr, kd-weight": ["1e-4, 0"],
        "layers": ["0,2,4"],
    }


def test_curves_hold_points_that_all_seeds_have(tmp_path):
    lines = synthetic.study(["SST-2"], [0.1], (1, 2), ["FT"])
    del lines[0]["curve"][1]
    results = results_of(tmp_path, *lines).done
    (column,) = tables.columns(results)
    points = tables.tabulate_curves(results, [column], tables.gap_of("loss"))["FT"][column]
    assert list(points) == [50, 150, 200, 250]
    last = lines[1]["metrics"]
    assert points[250][2] == last["valid"]["loss"] - last["train"]["loss"]
