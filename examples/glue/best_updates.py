"""Recipes with the number of updates that is best for each, chosen on other seeds.

    python examples/glue/best_updates.py RESULTS.jsonl ...

For each cell, arm and seed, the number of updates is the one with the best mean over the other
seeds, among the numbers that all of the arm's seeds have. A score is that of the seed that did not
choose. With --hindsight the number has the best mean over all seeds, the scored ones too. The table
has means over seeds, and differences from the baseline with Student's t interval. The lines below
it have the means over the cells of an arm, for seeds that have all of them.
"""

import argparse

import pandas as pd

from mixkd_plugin.tools.report.tables import metrics_of, paired_difference
from mixkd_plugin.tools.results import GOLD, changes_of, read_results

KEYS = ["cell", "arm", "seed"]


def runs(paths: list[str]) -> pd.DataFrame:
    """Columns cell, arm, seed, updates and score, of runs that differ in nothing else."""
    try:
        done = read_results(paths).done
    except (OSError, ValueError) as error:
        raise SystemExit(f"RESULTS must be results of a study: {error}") from error
    metrics = metrics_of(done)
    rows = [
        (f"{run.task}, {100 * run.fraction:g}%", run.arm, run.seed, record["updates"],
         record["metrics"]["valid"][metrics[run[:2]]])
        for run, record in done
        if run.data == GOLD and {*changes_of(run.variant)} <= {"min-updates"}
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=[*KEYS, "updates", "score"])
    return table.drop_duplicates([*KEYS, "updates"], keep="last")


def chosen(table: pd.DataFrame, hindsight: bool = False) -> pd.DataFrame:
    """For each seed the number of updates that the other seeds choose, and its score.

    An arm with one seed is left out: nothing can choose for it.
    """
    rows = []
    for (cell, arm), its in table.groupby(["cell", "arm"], sort=False):
        grid = its.pivot(index="seed", columns="updates", values="score")
        common = grid.dropna(axis="columns")
        if common.empty:
            raise SystemExit(f"RESULTS must have a number of updates that all seeds have, got none "
                f"for {arm} on {cell}: {grid.notna().sum().to_dict()} (seeds of each)")  # fmt: skip
        for seed in common.index if len(common) > 1 else ():
            best = (common if hindsight else common.drop(seed)).mean().idxmax()
            rows.append((cell, arm, seed, best, common.loc[seed, best]))
    return pd.DataFrame(rows, columns=[*KEYS, "updates", "score"])


def difference(scores: pd.DataFrame, arm: str, baseline: str) -> str:
    """Over the seeds, the index, that both have."""
    both = scores[[arm, baseline]].dropna()
    found = paired_difference(both[arm], both[baseline])
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}], {found.won}/{found.n}"


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="results.jsonl of studies")
    parser.add_argument("--baseline", default="KD", help="arm that the others are compared with")
    parser.add_argument("--hindsight", action="store_true", help="all seeds choose the number")
    args = parser.parse_args(argv)
    table = chosen(runs(args.results), args.hindsight)
    if args.baseline not in {*table["arm"]}:
        raise SystemExit(f"--baseline must be an arm with two seeds, got {args.baseline}")
    scores = table.pivot(index=["cell", "seed"], columns="arm", values="score")
    updates = table.groupby(["cell", "arm"])["updates"].unique()
    arms, rows = [*table["arm"].unique()], []
    for cell in table["cell"].unique():
        its, row = scores.loc[cell].dropna(axis="columns", how="all"), {"cell": cell}
        for arm in filter(its.columns.__contains__, arms):
            row[arm] = f"{its[arm].mean():.1f} ± {its[arm].std():.1f}"
            row[f"{arm}, updates"] = ", ".join(f"{n:g}" for n in sorted(updates[cell, arm]))
            if arm != args.baseline:
                row[f"{arm} minus {args.baseline}"] = difference(its, arm, args.baseline)
        rows.append(row)
    print(pd.DataFrame(rows).fillna("").to_markdown(index=False) + "\n")
    for arm in arms:
        by_cell = scores[[arm, args.baseline]].dropna().unstack("cell").dropna()
        means = by_cell.T.groupby(level="arm").mean().T
        if arm != args.baseline and len(means) > 1:
            n = len(by_cell.columns) // 2
            print(f"{arm} minus {args.baseline}, mean of {n} cells: "
                f"{difference(means, arm, args.baseline)}")  # fmt: skip


if __name__ == "__main__":
    main()
