"""Add texts without labels to the training sets of a study: does a mix help where texts are free?

    python examples/glue/unlabelled_pool.py --glue DATA --task 20news --out POOL --fraction 0.02

POOL/0.02-1 gets the task's folder: the 2% of the training set that --train-fraction would choose,
and then --times as many of its other examples without their labels; the dev files as they are.
With --half HALF the texts without labels are new to the teacher: HALF gets a task with a random
half of the training set, for the study's --glue. The 2% are of this half, the others of the rest,
drawn whatever their class is. README.md has the study's command.
"""

import argparse
import logging
import shutil
import sys
import warnings
from pathlib import Path

if __name__ == "__main__":  # libraries warn while they are imported
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")

import numpy as np

from mixkd_plugin.data.mixup_plan import stratified_subset
from mixkd_plugin.tools.encode.command import build_parser
from mixkd_plugin.tools.encode.encode import read_splits
from mixkd_plugin.tools.encode.sources import source_of
from mixkd_plugin.tools.study.tasks import files_of, source_flags
from mixkd_plugin.tools.texts.reading import read_table


def add_unlabelled(
    folder: Path, task: str, out: Path, fraction: float, seed: int, times: float, half: Path | None
) -> tuple[int, int]:
    """Write ``out``, and ``half`` if it is not there; the examples with and without a label."""
    words = [*source_flags(str(folder), task), "--tokenizer", "-", "--out", "-"]  # unused
    source = source_of(build_parser().parse_args(words))
    targets, examples, _ = read_splits(source, skip_bad_lines=False, unlabelled=False)
    names = targets.classes
    classes = np.array([0 if names is None else names.index(e.label) for e in examples["train"]])
    table = read_table(source.files["train"], source.columns, source.kind)
    lines = [list(fields) for _, fields in table.lines]

    def write(path: Path, chosen: list[list[str]]) -> None:
        path.mkdir(parents=True)
        rows = [table.header, *chosen] if table.header else chosen
        text = "".join("\t".join(fields) + "\n" for fields in rows)
        (path / "train.tsv").write_text(text, encoding="utf-8")
        for name in files_of(task)[1:]:
            shutil.copy(folder / name, path)

    if half is None:
        labelled = stratified_subset(classes, fraction, seed)
        # of one seed, a smaller subset is inside of a larger one
        both = stratified_subset(classes, min(1, fraction * (1 + times)), seed)
        others = np.setdiff1d(both, labelled)
    else:
        own, rest = np.array_split(np.random.default_rng(0).permutation(len(lines)), 2)
        own.sort()  # one half for all seeds: they share a teacher
        labelled = own[stratified_subset(classes[own], fraction, seed)]
        count = min(len(rest), round(times * len(labelled)))
        others = np.sort(np.random.default_rng(seed).choice(rest, count, replace=False))
        if not half.exists():
            write(half, [lines[i] for i in own])
    for i in others:
        for column in table.labels:
            lines[i][column] = ""
    write(out, [lines[i] for i in (*labelled, *others)])
    return len(labelled), len(others)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--glue", required=True, type=Path, metavar="DATA", help="folder of the tasks' folders")
    add("--task", required=True, metavar="NAME", help="GLUE's, or a folder with train.tsv, dev.tsv")
    add("--out", required=True, type=Path, metavar="POOL", help="gets a folder FRACTION-SEED")
    add("--fraction", required=True, type=float, help="share with labels, as --train-fraction")
    add("--seed", type=int, default=1, help="as --train-fraction-seed (default: %(default)s)")
    add("--half", type=Path, metavar="HALF", help="gets the task of a half, if it is not there")
    add("--times", type=float, default=10, help="texts without a label for each with one")
    args = parser.parse_args(argv)
    if not 0 < args.fraction <= 1:
        parser.error(f"--fraction must be in (0, 1], got {args.fraction}")
    if args.times < 0:
        parser.error(f"--times must be >= 0, got {args.times}")
    out = args.out / f"{args.fraction:g}-{args.seed}" / args.task
    if out.exists():
        parser.error(f"--out must not have {out} yet; remove it")
    try:
        counts = add_unlabelled(
            args.glue / args.task, args.task, out, args.fraction, args.seed, args.times,
            args.half and args.half / args.task,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        sys.exit(f"unlabelled_pool: {error}")
    print(f"{out}: {counts[0]} examples with a label, {counts[1]} without")


if __name__ == "__main__":
    main()
