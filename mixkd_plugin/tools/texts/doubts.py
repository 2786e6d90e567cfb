"""Warnings about values of a table that may mean something else."""

from typing import Callable, Iterator, Sequence

from ...names import class_name
from .examples import Targets
from .likeness import is_blank, is_missing
from .reading import Table

MANY_CLASSES = 20  # a warning above it, if there are half as many classes as examples


def doubtful_words(table: Table, targets: Targets) -> Iterator[str]:
    """About fields that may be a missing value, or have the quotation marks of CSV."""

    def missing(field: str) -> bool:
        return is_missing(field) and not is_blank(field)

    words = _found(table, table.texts, "a word", missing)
    if words:
        yield f"texts: {words}, encoded as text: is it a missing value?"
    words = _found(table, table.texts, "quoted", _is_quoted)
    if words:
        yield (
            f"texts: {words}, encoded with all its quotation marks: a .tsv has none around its "
            "fields; write a .csv"
        )
    known = targets.classes or ()
    words = _found(
        table, table.labels, "a word", lambda f: missing(f) and class_name(f) not in known
    )
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


def _is_quoted(field: str) -> bool:
    """Whether it is a field of CSV that has quotation marks."""
    field = field.strip()
    inner = field[1:-1]
    return field == f'"{inner}"' and '""' in inner and '"' not in inner.replace('""', "")


def _found(table: Table, columns: Sequence[int], what: str, test: Callable[[str], bool]) -> str:
    """How many fields pass, and the first of them; an empty text without any."""
    found = [
        (number, fields[c].strip())
        for number, fields in table.lines
        for c in columns
        if test(fields[c])
    ]
    if not found:
        return ""
    return (
        f"{len(found)} of them are {what} such as {found[0][1]!r:.99} ({table.where(found[0][0])})"
    )
