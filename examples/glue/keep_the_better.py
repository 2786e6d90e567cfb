"""What `mixkd distil --recipe auto` gains: of two students, the better one on a dev set is kept.

    python examples/glue/keep_the_better.py --out OUT --arms KD,splice-only

For each run of a study of which both checkpoints are there (`mixkd study ... keep=all`), the dev
set is split in two halves, 100 times. The student that is better on one half is kept, and scored on
the other: a score on texts that chose nothing. The table has the means over halves and seeds.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mixkd_plugin import scores
from mixkd_plugin.tools.evaluation import evaluation

HALVES = 100


def score(outputs: Tensor, targets: Tensor, regression: bool) -> float:
    """Accuracy, or Pearson's correlation, in percent."""
    if regression:
        values = scores.correlation_values(outputs, targets.view(-1, 1))
        return 100 * scores.pearson(values.double().numpy())
    return 100 * scores.equal_rows(outputs.argmax(1), targets).double().mean().item()


def kept(outputs: list[Tensor], targets: Tensor, regression: bool) -> tuple[list[float], float]:
    """Mean scores on half of a dev set: of each model, of the one that is better on the other
    half; and how often that is the second, in percent."""
    generator, total = torch.Generator().manual_seed(0), torch.zeros(len(outputs) + 1)
    second = 0
    for _ in range(HALVES):
        order = torch.randperm(len(targets), generator=generator)
        choose, test = (
            [score(each[part], targets[part], regression) for each in outputs]
            for part in order.chunk(2)
        )
        best = choose.index(max(choose))
        total += torch.tensor([*test, test[best]])
        second += best == 1
    return (total / HALVES).tolist(), 100 * second / HALVES


def of_run(folder: Path, data: Path, arms: list[str]) -> dict[str, float] | None:
    """The row of a run whose folder has {arm} in it; None if a checkpoint is missing."""
    paths = {arm: str(folder).format(arm=arm) + "/checkpoint_last.pt" for arm in arms}
    if not all(Path(path).exists() for path in paths.values()):
        return None
    found = evaluation(str(data), paths, arms[0])
    outputs = [found.outputs(found.loaded[arm].logits, found.batches[arm]) for arm in arms]
    regression = found.loaded[arms[0]].task.cfg.regression_target
    values, second = kept(
        outputs, found.targets if regression else found.targets.flatten(), regression
    )
    return {**dict(zip([*arms, "kept"], values, strict=True)), f"{arms[1]} kept, %": second}


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--out", required=True, type=Path, help="folder of a study")
    add("--arms", default="KD,splice-only", help="two arms; of equals the first is kept")
    add("--student", default="3-layer")
    add("--variant", default="recipe")
    args = parser.parse_args(argv)
    arms, rows = args.arms.split(","), []
    runs = args.out / "runs"
    for path in sorted(runs.glob(f"*/*/gold/{args.student}/{arms[0]}/{args.variant}/seed*")):
        task, fraction, seed = path.parts[-7], path.parts[-6], path.parts[-1]
        if not path.is_dir():
            continue
        folder = runs / task / fraction / "gold" / args.student / "{arm}" / args.variant / seed
        row = of_run(folder, args.out / "data" / "gold" / task, arms)
        if row is not None:
            rows.append({"cell": f"{task}, {100 * float(fraction):g}%", **row})
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
