"""What `mixkd distil --recipe auto` gains: of two students, the better one on a dev set is kept.

    python examples/glue/keep_the_better.py --out OUT

For each run of a study of which the checkpoints are there (`mixkd study ... keep=all`), the dev
set is split in two, 100 times. The student that is better on one part is kept, and scored on the
other, as is the baseline: a score on texts that chose nothing. The table has the means over splits
and seeds. The last line is the mean over cells; its interval is Student's t over seeds that have
all cells.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mixkd_plugin.tools.evaluation import REPORTS, evaluation, quality
from mixkd_plugin.tools.report.tables import paired_difference
from mixkd_plugin.tools.results import GOLD, read_results
from mixkd_plugin.tools.scoring import Loaded

SPLITS = 100


def score(one: Loaded, metric: str | None, outputs: Tensor, targets: Tensor) -> float:
    """A metric in percent; None: the task's first."""
    found = quality(one, outputs, targets, {*REPORTS} if metric else set())
    if metric and metric not in found:
        raise SystemExit(f"--metric must be one of {', '.join(found)}, got {metric}")
    return found[metric or next(iter(found))]


def kept(
    outputs: list[Tensor], targets: Tensor, score: Callable[[Tensor, Tensor], float], share: float
) -> tuple[list[float], float]:
    """Mean scores on a part of a dev set: of each model, and of the one of the first two that is
    better on the rest, a ``share`` of it; and how often that is the second, in percent."""
    generator, total = torch.Generator().manual_seed(0), torch.zeros(len(outputs) + 1)
    second = 0
    chosen = round(share * len(targets))
    for _ in range(SPLITS):
        order = torch.randperm(len(targets), generator=generator)
        choose, test = (
            [score(each[part], targets[part]) for each in outputs]
            for part in (order[:chosen], order[chosen:])
        )
        best = choose.index(max(choose[:2]))
        total += torch.tensor([*test, test[best]])
        second += best == 1
    return (total / SPLITS).tolist(), 100 * second / SPLITS


def of_run(
    data: Path, paths: dict[str, str], choose: float, metric: str | None
) -> dict[str, float]:
    """The row of the checkpoints of arms, of which the first two are the candidates."""
    first, second, *_ = paths
    found = evaluation(str(data), paths, first)
    outputs = [found.outputs(found.loaded[arm].logits, found.batches[arm]) for arm in paths]
    measure = partial(score, found.loaded[first], metric)
    values, share = kept(outputs, found.targets, measure, choose)
    return {**dict(zip([*paths, "kept"], values, strict=True)), f"{second} kept, %": share}


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--out", required=True, type=Path, help="folder of a study")
    add("--arms", default="KD+hidden,splice-only", help="two arms; of equals the first is kept")
    add("--baseline", default="KD", help="arm of which the gain is told")
    add("--student", default="3-layer")
    add("--variant", default="recipe")
    add("--metric", help="accuracy, f1 (of class 1), macro_f1, mcc, pearson or spearman (default: "
        "the task's first)")  # fmt: skip
    add("--share", type=float, default=0.5, help="of the dev set, that chooses")
    args = parser.parse_args(argv)
    if not 0 < args.share < 1:
        raise SystemExit(f"--share must be above 0 and below 1, got {args.share:g}")
    arms, rows = args.arms.split(","), []
    if len({*arms}) != 2 or len(arms) != 2:
        raise SystemExit(f"--arms must be two arms, got {args.arms}")
    baseline, arms = args.baseline, list(dict.fromkeys([*arms, args.baseline]))
    results = args.out / "results.jsonl"
    if not results.exists():
        raise SystemExit(f"--out must be the folder of a study, got {args.out}: no {results.name}")
    for run, _ in read_results([str(results)]).done:
        if run[3:] != (args.student, arms[0], GOLD, args.variant):
            continue
        folders = {arm: args.out / "runs" / run._replace(arm=arm).folder for arm in arms}
        paths = {arm: str(folder / "checkpoint_last.pt") for arm, folder in folders.items()}
        if all(map(os.path.exists, paths.values())):
            row = of_run(args.out / "data" / GOLD / run.task, paths, args.share, args.metric)
            rows.append({"cell": f"{run.task}, {100 * run.fraction:g}%", "seed": run.seed, **row})
    if not rows:
        raise SystemExit(
            f"--out must have checkpoints of {', '.join(arms)}, got none: keep=all keeps them"
        )
    table = pd.DataFrame(rows)
    gain = f"kept minus {baseline}"
    table[gain] = table["kept"] - table[baseline]
    cells = table.groupby("cell").mean().drop(columns="seed")
    cells.insert(0, "seeds", table.groupby("cell").size().astype(float))
    cells.loc["mean"] = cells.mean()
    print(cells.round(1).to_markdown())
    all_cells = table.groupby("seed").filter(lambda its: len(its) == table["cell"].nunique())
    by_seed = all_cells.groupby("seed")[["kept", baseline]].mean()
    if len(by_seed) > 1:
        found = paired_difference(by_seed["kept"], by_seed[baseline])
        interval = f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"
        print(f"\n{gain}, {found.n} seeds: {interval}")


if __name__ == "__main__":
    main()
