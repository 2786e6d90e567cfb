"""Warnings about values of a table that may mean something else."""

from typing import Iterator, Sequence

from ...names import class_name
from .examples import Targets
from .likeness import is_blank, is_missing
from .reading import Table

MANY_CLASSES = 20  # a warning above it, if there are half as many classes as examples


def doubtful_words(table: Table, targets: Targets) -> Iterator[str]:
    """About fields with a word for a missing value."""
    words = _missing_words(table, table.texts)
    if words:
        yield f"texts: {words}, encoded as text: is it a missing value?"
    words = _missing_words(table, table.labels, targets.classes or ())
    if words:
        yield f"labels: {words}, read as no label; --labels can name a class"


def doubtful_classes(classes: Sequence[str], examples: int) -> Iterator[str]:
    """About the classes that were found in so many training examples."""
    if len(classes) > max(examples / 2, MANY_CLASSES):
        yield (
            f"{len(classes)} classes in {examples} training examples: is --label the right "
            "column? Numbers that are not classes need --regression"
        )
    if tuple(classes[:4]) == ("-1", "0", "1", "2"):
        yield "train: labels: -1 is a class, but it often means a missing label"


def _missing_words(table: Table, columns: Sequence[int], skip: Sequence[str] = ()) -> str:
    """An empty text without any."""
    found = [
        (number, fields[c].strip())
        for number, fields in table.lines
        for c in columns
        if is_missing(fields[c]) and not is_blank(fields[c]) and class_name(fields[c]) not in skip
    ]
    if not found:
        return ""
    return f"{len(found)} of them are a word such as {found[0][1]!r} ({table.where(found[0][0])})"
