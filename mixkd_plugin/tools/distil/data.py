"""The texts of a distillation, from the user's files."""

import argparse
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ...names import join_names, split_names
from ...scores import best_constant
from ..cli import named
from ..encode.sources import SEPARATOR, glue_source
from ..texts.columns import find_columns, header_of, text_is
from ..texts.doubts import doubtful_classes, doubtful_words
from ..texts.examples import (
    NO_CLASS,
    NOT_FINITE,
    Example,
    Targets,
    check_classes,
    find_classes,
    read_examples,
    spelling_of,
)
from ..texts.files import ALLOWED, READERS, format_of, read_rows
from ..texts.likeness import NUMBER, is_missing
from ..texts.reading import Columns, Table, read_table

FEW = 2000  # training texts
HELD_OUT = 0.1  # of the training texts, where there is no --dev


class Data(NamedTuple):
    train: list[Example]
    dev: list[Example]
    classes: tuple[str, ...] | None  # None: regression
    columns: Columns
    notes: list[str]  # what was decided about them, for the plan
    multi_label: bool = False  # a text has any number of the classes: 0 or 1 for each
    no_label: str = NO_CLASS  # of an example without a label
    spelling: Mapping[str, str] = {}  # of the classes, which have _ for blanks

    @property
    def pairs(self) -> bool:
        return len(self.columns.texts) == 2

    @property
    def unlabelled_count(self) -> int:
        """Training texts without a label."""
        return sum(e.label == self.no_label for e in self.train)

    @property
    def constant(self) -> float:
        """The score of the best constant answer to the dev set, in percent; 0 for a regression."""
        if self.classes is None:
            return 0.0
        labels = [e.label for e in self.dev]
        if self.multi_label:
            targets = torch.tensor([[int(word) for word in label.split()] for label in labels])
        else:
            targets = torch.tensor([self.classes.index(label) for label in labels])
        return 100 * best_constant(targets, self.multi_label)


def read_data(
    args: argparse.Namespace,
    regression: bool | None,
    multi_label: bool = False,
    outputs: Sequence[str] = (),
) -> Data:
    """The texts that the flags name; labels are those of the files.

    Args:
        regression: whether the teacher is one; None: --regression or the labels decide
        multi_label: whether the teacher has several labels for a text
        outputs: the teacher's names of them; one of these is a class, also none, NA and the like

    Raises:
        ValueError: with file and line, for what cannot be used.
    """
    train, dev, columns, maximum, notes = args.train, args.dev, None, None, []
    classes = check_classes(split_names(args.labels), "--labels") if args.labels else None
    skip = bool(args.skip_bad_lines)
    if args.glue:
        source = glue_source(args.glue, args.task)
        train, dev, columns = source.files["train"], source.files["valid"], source.columns
        classes, multi_label = source.targets.classes, False
        if args.teacher and Path(args.teacher).is_file():  # it learned from what `encode` writes
            maximum = source.targets.maximum
    with named("--glue" if args.glue else "--train", train):
        if not args.glue:
            columns = find_columns(train, args.text, args.label)
            multi_label = multi_label or _are_several(args, columns)
            if multi_label and len(columns.labels) == 1:
                columns = columns._replace(separator=args.label_separator or SEPARATOR)
        if args.label_separator and not columns.separator:
            raise ValueError(
                "--label-separator must be given with --multi-label and one column of labels, got "
                f"{args.label_separator}"
            )
        if multi_label and args.regression:
            raise ValueError(
                "--regression must be given with one column of numbers, got several labels in "
                f"{join_names(columns.labels)}"
            )
        table = read_table(train, columns, skip_bad_lines=skip)
        if multi_label:
            targets = _several_labels(table, columns, classes, outputs)
        elif args.regression or regression or (regression is None and _has_fractions(table)):
            targets = Targets(None, maximum)
        else:
            targets = Targets(classes or find_classes(table, known=outputs))
        examples = read_examples(table, targets, unlabelled=True, skip_missing=skip)
        doubts = [*doubtful_words(table, targets)]
        if classes is None and targets.classes and len(columns.labels) == 1:  # they were found
            doubts += doubtful_classes(targets.classes, len(examples))
    if not args.glue:
        kind = "numbers" if targets.classes is None else f"{len(targets.classes)} classes"
        kind += ", several for a text" if multi_label else ""
        notes.append(f"{text_is(columns.texts)}, label is {join_names(columns.labels)} ({kind})")
    spelling = {}
    if targets.classes is not None:
        given = split_names(args.labels) if args.labels else ()
        spelling = spelling_of(targets.classes, given, table, columns)
    elif args.labels:
        raise ValueError(f"--labels must be given with classes, got {args.labels} for a regression")
    no_label = targets.no_label(1)
    if all(e.label == no_label for e in examples):
        raise ValueError(f"--label must be a column with labels, got none in {train}")
    if dev:
        with named("--glue" if args.glue else "--dev", dev):
            table = read_table(dev, columns, skip_bad_lines=skip)
            held_out = read_examples(table, targets, skip_missing=skip)
            doubts += doubtful_words(table, targets)
    else:
        examples, held_out = hold_out(examples, no_label, args.seed or 1)
        notes.append(f"no --dev: {len(held_out)} of the training texts are held out")
    if targets.classes is None and len({float(e.label) for e in held_out}) < 2:
        raise ValueError(
            f"--dev must have texts of different scores, which a correlation needs, got "
            f"{len(held_out)} of {held_out[0].label}: name another file"
        )
    for path in args.unlabelled or ():
        with named("--unlabelled", path):
            found, names = read_unlabelled(path, columns, targets, skip)
        said = f", {text_is(names)}" if names else ""
        notes.append(f"{len(found)} texts without labels from {path}{said}")
        examples += found
    notes += [f"WARNING: {doubt}" for doubt in doubts]
    seen = {e.texts for e in examples}
    both = sum(e.texts in seen for e in held_out)
    if both:
        notes.append(
            f"WARNING: {both} of the {len(held_out)} dev texts are training texts, too: scores on "
            "them say little about new texts"
        )
    if len(examples) < FEW and all(e.label != no_label for e in examples):
        notes.append("few texts: more of them without labels (--unlabelled FILE) would help most")
    return Data(
        examples, held_out, targets.classes, columns, notes, multi_label, no_label, spelling
    )


def _are_several(args: argparse.Namespace, columns: Columns) -> bool:
    """Whether a text has several labels: by --multi-label, several columns, or a list in JSON."""
    if args.multi_label or len(columns.labels) > 1:
        return True
    if format_of(args.train) != "jsonl":
        return False
    (name,) = columns.labels
    values = (row.get(name) for _, row in read_rows(args.train, "jsonl") if isinstance(row, dict))
    return isinstance(next((value for value in values if value is not None), None), list)


def _several_labels(
    table: Table, columns: Columns, classes: Sequence[str] | None, outputs: Sequence[str]
) -> Targets:
    """``classes``: those of --labels."""
    names = columns.labels
    if columns.separator:
        names = classes or find_classes(table, columns.separator, outputs)
    return Targets(check_classes(names, "--label"), multi_label=True, separator=columns.separator)


def _has_fractions(table: Table) -> bool:
    """Whether all labels are numbers, and one is no integer; infinite ones are refused later."""
    labels = [fields[table.labels[0]].strip() for _, fields in table.lines]
    labels = [label for label in labels if not is_missing(label)]
    numbers = all(NUMBER.fullmatch(label) or NOT_FINITE.fullmatch(label) for label in labels)
    return numbers and any(float(label) % 1 for label in labels)  # of inf it is nan


def hold_out(
    examples: Sequence[Example], no_label: str, seed: int
) -> tuple[list[Example], list[Example]]:
    """The rest, and a tenth of each class; those without a label stay."""
    by_class = defaultdict(list)
    numbers = {e.label for e in examples if e.label != no_label}
    stratify = len(numbers) <= len(examples) * HELD_OUT
    for i, example in enumerate(examples):
        if example.label != no_label:
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


def read_unlabelled(
    path: str, columns: Columns, targets: Targets, skip_bad_lines: bool
) -> tuple[list[Example], list[str]]:
    """Texts of a table, in the same columns or in those that are found, or of a file's lines.

    Also the names of the columns; lines have none.
    """
    kind, count = Path(path).suffix[1:].lower() or "txt", len(columns.texts)
    if kind not in READERS:
        raise ValueError(f"--unlabelled must be a file of {ALLOWED} or txt, got {path}")
    if kind == "txt":
        columns = Columns((0,), ())
    elif not {*columns.texts} <= {*header_of(path)}:
        columns = find_columns(path, None, None, labelled=False)
    table = read_table(path, columns._replace(labels=()), kind, skip_bad_lines)
    if len(table.texts) != count:
        raise ValueError(f"--unlabelled must have {count} columns of text, got {path}")
    none, lines = targets.no_label(1), []
    for number, fields in table.lines:
        texts = tuple(fields[c] for c in table.texts)
        if any(text.strip() for text in texts):
            lines.append(Example(texts, none, number))
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines, [table.header[c] for c in table.texts if table.header]
