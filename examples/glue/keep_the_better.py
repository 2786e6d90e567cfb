"""What `mixkd distil --recipe auto` gains: of two students, the better one on a dev set is kept.

    python examples/glue/keep_the_better.py --out OUT --arms KD,splice-only

For each run of a study of which both checkpoints are there (`mixkd study ... keep=all`), the dev
set is split in two halves, 100 times. The student that is better on one half is kept, and scored on
the other: a score on texts that chose nothing. The table has the means over halves and seeds.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mixkd_plugin.tools.evaluation import evaluation, quality
from mixkd_plugin.tools.results import GOLD, read_results
from mixkd_plugin.tools.scoring import Loaded

HALVES = 100


def score(one: Loaded, outputs: Tensor, targets: Tensor) -> float:
    """The task's first metric, in percent."""
    return next(iter(quality(one, outputs, targets, set()).values()))


def kept(
    outputs: list[Tensor], targets: Tensor, score: Callable[[Tensor, Tensor], float]
) -> tuple[list[float], float]:
    """Mean scores on half of a dev set: of each model, of the one that is better on the other
    half; and how often that is the second, in percent."""
    generator, total = torch.Generator().manual_seed(0), torch.zeros(len(outputs) + 1)
    second = 0
    for _ in range(HALVES):
        order = torch.randperm(len(targets), generator=generator)
        choose, test = (
            [score(each[part], targets[part]) for each in outputs] for part in order.chunk(2)
        )
        best = choose.index(max(choose))
        total += torch.tensor([*test, test[best]])
        second += best == 1
    return (total / HALVES).tolist(), 100 * second / HALVES


def of_run(data: Path, paths: dict[str, str]) -> dict[str, float]:
    """The row of two checkpoints, by their arms."""
    first, second = paths
    found = evaluation(str(data), paths, first)
    outputs = [found.outputs(found.loaded[arm].logits, found.batches[arm]) for arm in paths]
    values, share = kept(outputs, found.targets, partial(score, found.loaded[first]))
    return {**dict(zip([*paths, "kept"], values, strict=True)), f"{second} kept, %": share}


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--out", required=True, type=Path, help="folder of a study")
    add("--arms", default="KD,splice-only", help="two arms; of equals the first is kept")
    add("--student", default="3-layer")
    add("--variant", default="recipe")
    args = parser.parse_args(argv)
    arms, rows = args.arms.split(","), []
    results = args.out / "results.jsonl"
    if not results.exists():
        raise SystemExit(f"--out must be the folder of a study, got {args.out}: no {results.name}")
    for run, _ in read_results([str(results)]).done:
        if run[3:] != (args.student, arms[0], GOLD, args.variant):
            continue
        folders = {arm: args.out / "runs" / run._replace(arm=arm).folder for arm in arms}
        paths = {arm: str(folder / "checkpoint_last.pt") for arm, folder in folders.items()}
        if all(map(os.path.exists, paths.values())):
            row = of_run(args.out / "data" / GOLD / run.task, paths)
            rows.append({"cell": f"{run.task}, {100 * run.fraction:g}%", **row})
    if not rows:
        raise SystemExit(
            f"--out must have checkpoints of {args.arms}, got none: keep=all keeps them"
        )
    table = pd.DataFrame(rows)
    cells = table.groupby("cell").mean(numeric_only=True)
    cells.insert(0, "seeds", table.groupby("cell").size().astype(float))
    cells.loc["mean"] = cells.mean()
    cells[f"kept minus {arms[0]}"] = cells["kept"] - cells[arms[0]]
    print(cells.round(1).to_markdown())


if __name__ == "__main__":
    main()
