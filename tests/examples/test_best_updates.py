"""The number of updates of each recipe, chosen on other seeds."""

import json

import best_updates
import pytest
from scipy import stats

from mixkd_plugin.tools.results import Run


@pytest.fixture
def report(tmp_path, capsys):
    """Prints the report of scores {(task, arm, updates, seed): accuracy}; its lines."""

    def of(scores, *flags, variant="min-updates={}"):
        lines = []
        for (task, arm, updates, seed), score in scores.items():
            run = Run(task, 0.02, seed, "3-layer", arm, "gold", variant.format(updates))
            done = {"status": "done", "updates": updates, "metrics": {"valid": {"accuracy": score}}}
            lines.append(json.dumps({**run._asdict(), **done}) + "\n")
        (tmp_path / "results.jsonl").write_text("".join(lines))
        best_updates.main([str(tmp_path / "results.jsonl"), *flags])
        return capsys.readouterr().out.splitlines()

    return of


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def grid(task, arm, scores):
    """{updates: the score of seed 1, 2, ...}"""
    return {(task, arm, n, seed): value for n, its in scores.items()
            for seed, value in enumerate(its, 1)}  # fmt: skip


def interval(differences):
    mean = sum(differences) / len(differences)
    low, high = stats.t.interval(0.95, len(differences) - 1, mean, stats.sem(differences))
    won = sum(d > 0 for d in differences)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}], {won}/{len(differences)}"


def test_a_seed_does_not_choose_for_itself(report):
    """Of 100 and 400 updates each seed has the other one's worse number."""
    scores = {
        **grid("T", "KD", {100: (90, 50, 60), 400: (60, 80, 70)}),
        **grid("T", "mine", {100: (70, 70, 70), 400: (80, 81, 85)}),
    }
    header, _, row, _, pooled = report(scores)
    names = ["cell", "KD", "KD, updates", "mine", "mine, updates", "mine minus KD"]
    assert cells(header) == names
    # Seed 1: 400 (75 of the others against 55). Seeds 2 and 3: 100 (75 against 65, 70 against 70).
    kept = [60, 50, 60]
    differences = [mine - kd for mine, kd in zip([80, 81, 85], kept, strict=True)]
    assert cells(row) == [
        "T, 2%",
        "56.7 ± 5.8",
        "100, 400",
        "82.0 ± 2.6",
        "400",
        interval(differences),
    ]
    assert pooled == f"mine minus KD, mean of 1 cells: {interval(differences)}"
    _, _, row, *_ = report(scores, "--hindsight")
    assert cells(row)[1:3] == ["70.0 ± 10.0", "400"]


def test_only_numbers_that_all_seeds_have(report):
    scores = grid("T", "KD", {100: (50, 60), 800: (99,)})
    _, _, row, *_ = report({**scores, **grid("T", "mine", {100: (70, 70)})})
    assert cells(row)[1:4] == ["55.0 ± 7.1", "100", "70.0 ± 0.0"]
    with pytest.raises(SystemExit, match=r"got none for KD on T, 2%: \{100: 1, 400: 1\}"):
        report({("T", "KD", 100, 1): 50, ("T", "KD", 400, 2): 60})


def test_the_mean_over_cells_has_seeds_with_all_cells(report):
    scores = {
        **grid("A", "KD", {100: (50, 50, 50)}),
        **grid("A", "mine", {100: (52, 53, 90)}),
        **grid("B", "KD", {100: (60, 60)}),
        **grid("B", "mine", {100: (62, 63)}),
        **grid("B", "one seed", {100: (62,)}),
    }
    *_, pooled = report(scores)
    assert pooled == f"mine minus KD, mean of 2 cells: {interval([2, 3])}"
    with pytest.raises(SystemExit, match="--baseline must be an arm with two seeds, got one seed"):
        report(scores, "--baseline", "one seed")


def test_other_variants_are_left_out(report):
    with pytest.raises(SystemExit, match="--baseline .* got KD"):
        report(grid("T", "KD", {100: (50, 60)}), variant="min-updates={},lr=1")


def test_files_that_are_no_results_are_refused(tmp_path):
    (tmp_path / "damaged.jsonl").write_text("{")
    for name in ("none.jsonl", "damaged.jsonl"):
        with pytest.raises(SystemExit, match=f"RESULTS must be results of a study: .*{name}"):
            best_updates.main([str(tmp_path / name)])
