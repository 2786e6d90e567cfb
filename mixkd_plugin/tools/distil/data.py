"""The texts of a distillation, from the user's files; written as tables that `encode` reads."""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..cli import named
from ..encode.sources import glue_source
from ..output import atomic_write
from ..texts.columns import find_columns
from ..texts.examples import NO_CLASS, NO_SCORE, Example, Targets, find_classes, read_examples
from ..texts.likeness import NUMBER, is_missing
from ..texts.reading import Columns, read_table

HELD_OUT = 0.1  # of the training texts, where there is no --dev
NO_LABELS = {NO_CLASS, NO_SCORE}
FIELDS = ("text", "text2")  # of our tables


class Data(NamedTuple):
    train: list[Example]
    dev: list[Example]
    classes: tuple[str, ...] | None  # None: regression
    columns: Columns
    notes: list[str]  # what was decided about them, for the plan

    @property
    def pairs(self) -> bool:
        return len(self.columns.texts) == 2

    @property
    def without(self) -> int:
        """Training texts without a label."""
        return sum(e.label in NO_LABELS for e in self.train)

    @property
    def largest_class(self) -> float:
        """The share of the dev set's largest class, in percent; 0 for a regression."""
        if self.classes is None:
            return 0.0
        return 100 * max(Counter(e.label for e in self.dev).values()) / len(self.dev)


def read_data(args: argparse.Namespace, regression: bool | None) -> Data:
    """The texts that the flags name; labels are those of the files.

    Args:
        regression: whether the teacher is one; None: --regression or the labels decide

    Raises:
        ValueError: with file and line, for what cannot be used.
    """
    train, dev, columns, classes, notes = args.train, args.dev, None, None, []
    if args.glue:
        source = glue_source(args.glue, args.task)
        train, dev, columns = source.files["train"], source.files["valid"], source.columns
        classes = source.targets.classes
    with named("--glue" if args.glue else "--train", train):
        columns = columns or find_columns(train, args.text, args.label)
        table = read_table(train, columns)
        if regression is None:
            given = [fields[table.labels[0]].strip() for _, fields in table.lines]
            regression = _have_fractions(given)
        regression = regression or bool(args.regression)
        targets = Targets(None) if regression else Targets(classes or find_classes(table))
        examples = read_examples(table, targets, unlabelled=True)
    if not args.glue:
        shown = " + ".join(map(str, columns.texts))
        kind = "numbers" if regression else f"{len(targets.classes)} classes"
        notes.append(f"text is {shown}, label is {columns.labels[0]} ({kind})")
    if all(e.label in NO_LABELS for e in examples):
        raise ValueError(f"--label must be a column with labels, got none in {train}")
    if dev:
        with named("--glue" if args.glue else "--dev", dev):
            held_out = read_examples(read_table(dev, columns), targets)
    else:
        examples, held_out = hold_out(examples, args.seed or 1)
        notes.append(f"no --dev: {len(held_out)} of the training texts are held out")
    seen = {e.texts for e in examples}
    both = sum(e.texts in seen for e in held_out)
    if both:
        notes.append(
            f"WARNING: {both} of the {len(held_out)} dev texts are training texts, too: scores on "
            "them say little about new texts"
        )
    for path in args.unlabelled or ():
        with named("--unlabelled", path):
            found = read_unlabelled(path, columns, targets)
        notes.append(f"{len(found)} texts without labels from {path}")
        examples += found
    return Data(examples, held_out, targets.classes, columns, notes)


def _have_fractions(labels: Iterable[str]) -> bool:
    labels = [label for label in labels if not is_missing(label)]
    return all(map(NUMBER.fullmatch, labels)) and any(float(x) % 1 for x in labels)


def hold_out(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """The rest, and a tenth of each class; those without a label stay."""
    by_class = defaultdict(list)
    numbers = {e.label for e in examples} - NO_LABELS
    stratify = len(numbers) <= len(examples) * HELD_OUT
    for i, example in enumerate(examples):
        if example.label not in NO_LABELS and example.label.split()[0] != NO_SCORE:
            by_class[example.label if stratify else ""].append(i)
    rng, chosen = random.Random(seed), set()
    for places in by_class.values():
        chosen.update(rng.sample(places, round(HELD_OUT * len(places)) or int(len(places) > 1)))
    if not chosen:
        raise ValueError(f"--dev must be given for {len(examples)} training texts, got none")
    parts: tuple[list, list] = ([], [])
    for i, example in enumerate(examples):
        parts[i in chosen].append(example)
    return parts


def read_unlabelled(path: str, columns: Columns, targets: Targets) -> list[Example]:
    """Texts of a table with the same columns of text, or of a text file's lines."""
    none = targets.no_label(1)
    if not path.endswith((".csv", ".tsv", ".jsonl")):
        if len(columns.texts) > 1:
            raise ValueError(f"--unlabelled must be a table for pairs, got {path}")
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} must be UTF-8: {error}") from error
        found = [Example((line,), none, i) for i, line in enumerate(lines, 1) if line.strip()]
        if not found:
            raise ValueError(f"{path} is empty")
        return found
    try:
        table = read_table(path, Columns(columns.texts, ()))
    except ValueError:
        table = read_table(path, find_columns(path, None, None, labelled=False))
    if len(table.texts) != len(columns.texts):
        raise ValueError(f"--unlabelled must have {len(columns.texts)} columns of text, got {path}")
    return [
        Example(tuple(" ".join(fields[c].splitlines()) for c in table.texts), none, number)
        for number, fields in table.lines
    ]


def write_tables(data: Data, names: dict[str, str], folder: Path) -> dict[str, Path]:
    """train.jsonl and dev.jsonl; ``names``: the teacher's name of each class."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for split, examples in (("train", data.train), ("dev", data.dev)):
        lines = []
        for example in examples:
            label = "" if example.label in NO_LABELS else names.get(example.label, example.label)
            row = {**dict(zip(FIELDS, example.texts)), "label": label}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        paths[split] = folder / f"{split}.jsonl"
        atomic_write(paths[split], "".join(lines))
    return paths
