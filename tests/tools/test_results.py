"""Results of a study: lines replace each other, statistics are those of numpy and scipy."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import synthetic_study as synthetic

from mixkd_plugin.tools.report import tables
from mixkd_plugin.tools.report.sections import with_recipe
from mixkd_plugin.tools.report.tables import QUALITY, difference_texts, holm, paired_difference
from mixkd_plugin.tools.results import read_results


def results_of(tmp_path, *lines):
    return read_results([synthetic.write(tmp_path / "results.jsonl", lines)])


def test_summary_is_numpys():
    values = [81.2, 80.0, 83.5]
    wanted = f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} (3)"
    assert tables.summary_cell(pd.Series(values), 2) == wanted
    assert tables.summary_cell(pd.Series([80.0])) == "80.0 (1)"
    assert tables.summary_cell(pd.Series([80.0, float("nan")])) == "nan ± nan (2)"


def test_paired_interval_is_scipys():
    ours, theirs = [81.0, 82.5, 80.1, 84.0], [80.0, 83.0, 78.2, 81.5]
    difference = paired_difference(ours, theirs)
    assert (difference.low, difference.high) == pytest.approx(synthetic.interval(ours, theirs))
    assert difference.mean == pytest.approx(1.225)
    assert (difference.n, difference.won) == (4, 3)
    assert difference.low < 0 < difference.high


def pairs(ours, theirs):
    """Of {(task, seed): value}."""
    ours, theirs = (
        pd.DataFrame(
            [[task, 0.1, task, seed, value] for (task, seed), value in values.items()],
            columns=["task", "fraction", "cell", "seed", "value"],
        )
        for values in (ours, theirs)
    )
    return tables.pairs_with(ours, theirs)


def test_only_seeds_of_both_are_paired():
    found = pairs(
        {("a", 1): 1.0, ("a", 2): 5.0, ("a", 9): 100.0},
        {("a", 2): 1.0, ("a", 1): 0.0, ("a", 7): -100.0},
    )
    assert paired_difference(found["value"], found["value_base"])[0::3] == (2.5, 2)
    assert pairs({("a", 1): 1.0}, {("a", 2): 1.0}).empty
    nan, zero = {("a", 1): float("nan"), ("a", 2): 1.0}, {("a", 1): 0.0, ("a", 2): 0.0}
    both = pairs({("a", 1): 1.0}, {("a", 1): 3.0}), pairs(nan, zero)
    assert difference_texts(both) == ["-2.0 no interval, 0/1", "+nan no interval, 1/2"]


def test_holms_correction():
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm"); a test that was not made does not count."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.6, float("nan"), 0.001, 0.7])
    assert found == pytest.approx([1, float("nan"), 0.003, 1], nan_ok=True)


def test_a_mark_is_of_all_tests_of_a_table():
    """p is 0.016: below 5% alone and of two tests, not of four. An interval stays as it is."""
    base = {("a", seed): 0.0 for seed in range(4)}
    ours = pairs({("a", i): v for i, v in enumerate((1.0, 2.0, 1.5, 0.8))}, base)
    none = pairs({("a", i): v for i, v in enumerate((1.0, -1.0, 0.5, -0.4))}, base)
    assert paired_difference(ours["value"], ours["value_base"]).p == pytest.approx(0.0155, abs=1e-3)
    texts = [difference_texts([ours, *[none] * others])[0] for others in (0, 1, 3)]
    assert texts == [f"▲ {texts[2]}", f"▲ {texts[2]}", "+1.3 [+0.5, +2.2], 4/4"]


@pytest.mark.parametrize(
    "gained, text", [(4, "+0.5 no interval, 2/2"), (0, "+0.0 no interval, 0/2")]
)
def test_equal_differences_have_no_mark(gained, text):
    """Accuracies are counts: two seeds often gain equally many examples, equal but for rounding."""
    base, ours = (
        {("a", seed): 100 * (right + more) / 872 for seed, right in enumerate((541, 702))}
        for more in (0, gained)
    )
    assert difference_texts([pairs(ours, base)]) == [text]


def test_pooled_means_are_over_the_same_cells():
    """A seed that lacks a cell is left out, lest its mean be of other tasks."""
    random = np.random.default_rng(0)
    ours, theirs = (
        {
            (c, seed): random.normal(level)
            for seed in (1, 2, 3, 4)
            for c, level in (("a", 0), ("b", 50))
        }
        for _ in range(2)
    )
    del ours["b", 3]
    seeds, cells = tables.pooled(pairs(ours, theirs))
    means = [[(t["a", s] + t["b", s]) / 2 for s in (1, 2, 4)] for t in (ours, theirs)]
    found = paired_difference(seeds["value"], seeds["value_base"])
    assert (found.low, found.high) == pytest.approx(synthetic.interval(*means))
    assert (found.n, cells) == (3, 2)
    del ours["b", 2], ours["b", 4]  # now four seeds of one cell are more pairs than one of two
    seeds, cells = tables.pooled(pairs(ours, theirs))
    assert (list(seeds["value"]), cells) == ([ours["a", seed] for seed in (1, 2, 3, 4)], 1)


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


def test_a_whole_last_line_needs_no_end(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(synthetic.run("SST-2", 0.01, 1, "FT")))
    assert len(read_results([str(path)]).done) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": None}, "seed: .* integer, got None"),
        ({"fraction": "1%"}, "fraction: .* number, got '1%'"),
        ({"fraction": 10}, "fraction: .* less than or equal to 1, got 10"),
        ({"status": "half"}, "status: .* 'done', got 'half'"),
        ({"kind": "seed"}, "sentences_per_second: .* required"),
        ({"metrics": {"valid": {"mcc": 1.0}}}, "metrics.valid.accuracy: "),
        ({"metrics": {"train": {}}}, "metrics.valid.accuracy: "),
        ({"teacher": {"layers": 6}}, "teacher.metrics: "),
        ({"curve": [{"epoch": 1}]}, "curve.0.updates: "),
        ({"student": ...}, "student: "),
        ({"variant": "alpha"}, "variant: .* got 'alpha'"),
    ],
)
def test_bad_lines(tmp_path, change, message):
    good = synthetic.run("SST-2", 0.01, 1, "FT")
    bad = {key: value for key, value in {**good, **change}.items() if value is not ...}
    where = re.escape(f"{tmp_path}/results.jsonl, line 2: ")
    with pytest.raises(ValueError, match=where + message):
        results_of(tmp_path, good, bad)


# --- arranging ---


def test_tables_hold_the_task_s_metric_by_seed(tmp_path):
    lines = synthetic.study(("SST-2", "MRPC", "MNLI", "CoLA"), (0.1, 0.01), (1, 2), ("KD", "FT"))
    table = tables.long_table(results_of(tmp_path, *lines).done)
    assert list(table["cell"].cat.categories) == [
        "SST-2, 1%", "SST-2, 10%", "MRPC, 1%", "MRPC, 10%", "MNLI-m, 1%", "MNLI-mm, 1%",
        "MNLI-m, 10%", "MNLI-mm, 10%", "CoLA, 1%", "CoLA, 10%",
    ]  # fmt: skip
    assert list(table["label"].cat.categories) == ["FT", "KD"]
    names = ["arm", "task", "fraction", "split", "seed"]
    found = tables.at_the_end(table, QUALITY).set_index(names)["value"].to_dict()
    metrics = {"MRPC": "acc_and_f1", "CoLA": "mcc"}
    assert found == {
        (one["arm"], one["task"], one["fraction"], split, one["seed"]):
        one["metrics"][split][metrics.get(one["task"], "accuracy")]
        for one in lines for split in ("valid", "valid1") if split in one["metrics"]
    }  # fmt: skip


def test_mnli_counts_once(tmp_path):
    lines = synthetic.study(("MNLI",), (0.01,), (1,), ("KD", "FT"))
    ends = tables.at_the_end(tables.long_table(results_of(tmp_path, *lines).done))
    both = tables.pairs_with(ends[ends["label"] == "KD"], ends[ends["label"] == "FT"])
    seeds, cells = tables.pooled(both)
    wanted = np.mean([lines[0]["metrics"][split]["accuracy"] for split in ("valid", "valid1")])
    assert (list(seeds["value"]), cells) == ([pytest.approx(wanted)], 1)


def test_an_arms_former_name_is_read(tmp_path):
    line = synthetic.run("MRPC", 0.1, 1, "FM")
    assert [run.arm for run, _ in results_of(tmp_path, line).done] == ["TMKD-only"]


@pytest.mark.parametrize("null", [False, True])
def test_accuracy_where_a_run_has_no_f1(tmp_path, null):
    lines = [synthetic.run("MRPC", 0.1, seed, "FT") for seed in (1, 2)]
    del lines[0]["metrics"]["valid"]["acc_and_f1"]
    if null:
        lines[0]["metrics"]["valid"]["acc_and_f1"] = None
    metrics = tables.metrics_of(results_of(tmp_path, *lines).done)
    assert metrics == {("MRPC", 0.1): "accuracy"}


def test_variants_are_taken_apart(tmp_path):
    variants = ("mixup-alpha=10", "mixup-alpha=2", "lr=1e-4,kd-weight=0", "layers=0,2,4")
    lines = [synthetic.run("SST-2", 0.1, 1, "FT", variant=variant) for variant in variants]
    table = tables.long_table(results_of(tmp_path, *lines).done)
    found = {s: with_recipe(of, table[:0]) for s, of in table.groupby("setting")}
    values = {s: list(of["value_of_setting"].cat.categories[1:]) for s, of in found.items()}
    assert values == {"mixup-alpha": ["2", "10"], "lr, kd-weight": ["1e-4, 0"], "layers": ["0,2,4"]}


def test_curves_hold_points_that_all_seeds_have(tmp_path):
    lines = synthetic.study(["SST-2"], [0.1], (1, 2), ["FT"])
    del lines[0]["curve"][1]
    points = tables.during(tables.long_table(results_of(tmp_path, *lines).done), "label loss")
    assert list(points["updates"].unique()) == [50, 150, 200, 250]
    last = lines[1]["metrics"]
    ours = points[(points["updates"] == 250) & (points["seed"] == 2)]["value"]
    assert list(ours) == [last["valid"]["loss"] - last["train"]["loss"]]
