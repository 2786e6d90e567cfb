"""Examples of a table: their texts, and their labels as classes or as numbers, checked."""

import math
import re
from typing import List, NamedTuple, Optional, Sequence, Tuple

from .reading import Table
from .subwords import FAIRSEQ_SPECIAL

NO_CLASS, NO_SCORE = "<unk>", "nan"  # what the task takes for no gold label


class Targets(NamedTuple):
    """What labels may be."""

    classes: Optional[Tuple[str, ...]]  # in the order of their indices; None: regression
    maximum: Optional[float] = None  # scores are from 0 to it, and written divided by it


class Example(NamedTuple):
    texts: Tuple[str, ...]  # without ends of lines
    label: str  # as parse_label has it

    @property
    def labelled(self) -> bool:
        return self.label.split()[0] not in (NO_CLASS, NO_SCORE)


def read_examples(table: Table, targets: Targets, unlabelled: bool = False) -> List[Example]:
    """The examples of a table.

    Raises:
        ValueError: as :func:`parse_label`.
    """
    return [
        Example(
            tuple(re.sub("\r\n|\r|\n", " ", fields[c]) for c in table.texts),
            parse_label(
                [fields[c] for c in table.labels], targets, table.where(number), unlabelled
            ),
        )
        for number, fields in table.lines
    ]


def parse_label(
    fields: Sequence[str], targets: Targets, where: str, unlabelled: bool = False
) -> str:
    """The label of a line as it is written to the data folder: a class, or numbers.

    An empty one, where ``unlabelled`` allows it, is an example without a label.

    Raises:
        ValueError: beginning with ``where``, for an empty label (unless ``unlabelled``), an unknown
            class, or what is no finite number.
    """
    fields = [field.strip() for field in fields]
    if not any(fields):
        if not unlabelled:
            raise ValueError(
                f"{where}: empty label (allowed in the training file alone, with --unlabelled: an "
                "example without one)"
            )
        return NO_CLASS if targets.classes else " ".join([NO_SCORE] * len(fields))
    if targets.classes is None:
        return " ".join(_parse_number(field, targets.maximum, where) for field in fields)
    name = class_name(fields[0])
    if name not in targets.classes:
        raise ValueError(f"{where}: label {fields[0]!r}; allowed: {', '.join(targets.classes)}")
    return name


def _parse_number(field: str, maximum: Optional[float], where: str) -> str:
    try:
        value = float(field)
    except ValueError:
        raise ValueError(f"{where}: the score {field!r} is not a number") from None
    if maximum is None:
        if not math.isfinite(value):
            raise ValueError(f"{where}: score {field}; allowed: finite numbers")
        return field
    if not 0 <= value <= maximum:
        raise ValueError(f"{where}: score {field}; allowed: 0 to {maximum:g}")
    return repr(value / maximum)


def class_name(label: str) -> str:
    """As it stands in fairseq's dict.txt, whose symbols hold no blanks."""
    return "_".join(label.split())


def find_classes(table: Table) -> Tuple[str, ...]:
    """The classes of a table in order, by number where all are integers, else by text.

    Raises:
        ValueError: as :func:`check_classes`.
    """
    (column,) = table.labels
    labels = {fields[column].strip() for _, fields in table.lines} - {""}
    if all(re.fullmatch("[+-]?[0-9]+", label) for label in labels):
        ordered = sorted(labels, key=lambda label: (int(label), label))
    else:
        ordered = sorted(labels)
    return check_classes(ordered, f"{table.path}: --label")


def check_classes(labels: Sequence[str], where: str) -> Tuple[str, ...]:
    """The names of classes.

    Raises:
        ValueError: beginning with ``where``, for fewer than two, and for labels that fairseq's
            dictionary could not tell apart from each other or from its own symbols.
    """
    names = [class_name(label) for label in labels]
    if len(names) < 2:
        raise ValueError(f"{where}: {len(names)} classes ({', '.join(names)}); at least 2 needed")
    for i, name in enumerate(names):
        if not name or name in FAIRSEQ_SPECIAL:
            raise ValueError(f"{where}: {labels[i]!r} cannot be a class; it is fairseq's")
        if name in names[:i]:
            raise ValueError(
                f"{where}: {labels[names.index(name)]!r} and {labels[i]!r} would be one class: "
                f"blanks are written as in {name}"
            )
    return tuple(names)
