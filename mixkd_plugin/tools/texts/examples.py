"""Examples of a table: their texts, and their labels as classes or as numbers, checked."""

import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ...names import HINT, class_name, join_names
from ...tokenizers.library import FAIRSEQ_SPECIAL
from .likeness import NUMBER, is_blank, is_missing, labels_flag, likeness, listed, shown, unseen
from .reading import Columns, Table

Texts = Tuple[str, ...]  # of one example
NO_CLASS, NO_SCORE = "<unk>", "nan"  # the task's symbols for a missing label
LARGEST = 3.4028234663852886e38  # largest float32
NOT_FINITE = re.compile(r"[+-]?(inf(inity)?|nan)", re.IGNORECASE)  # what float() reads besides
SHOWN = 20  # classes that an error lists


class Targets(NamedTuple):
    """The permitted labels."""

    classes: Optional[Tuple[str, ...]]  # in the order of their indices; None: regression
    maximum: Optional[float] = None  # scores are in [0, maximum], and are divided by it
    fixed: bool = False  # the classes are those of a GLUE task
    multi_label: bool = False  # a text has any number of the classes
    separator: Optional[str] = None  # of these in one column; None: a column of 0 and 1 for each
    spelling: Mapping[str, str] = {}  # of classes that have blanks, by :func:`names.class_name`

    def no_label(self, columns: int) -> str:
        """The symbols of an example without a label."""
        columns = len(self.classes) if self.multi_label else columns
        of_values = self.classes is None or self.multi_label
        return " ".join([NO_SCORE] * columns) if of_values else NO_CLASS


class Example(NamedTuple):
    texts: Texts
    label: str  # from parse_label
    line: int  # its first line in the file


def read_examples(
    table: Table, targets: Targets, unlabelled: bool = False, skip_missing: bool = False
) -> List[Example]:
    """The examples of a table; with ``skip_missing`` without those that lack a label.

    Raises:
        ValueError: as :func:`parse_label`.
    """
    examples = []
    for number, fields in table.lines:
        labels = [fields[c] for c in table.labels]
        if skip_missing and _lacks(labels, targets) and not (unlabelled and _lacks_all(labels)):
            continue
        label = parse_label(labels, targets, table.where(number), unlabelled)
        texts = tuple(fields[c] for c in table.texts)
        examples.append(Example(texts, label, number))
    if not examples:
        raise ValueError(f"{table.path}: no example has a label")
    return examples


def _lacks(fields: Sequence[str], targets: Targets) -> bool:
    if targets.separator is not None and is_blank(fields[0]):
        return False  # a text with none of the classes
    named = targets.classes is not None and class_name(fields[0]) in targets.classes
    return not named and any(map(is_missing, fields))


def _lacks_all(fields: Sequence[str]) -> bool:
    return all(map(is_missing, fields))


def parse_label(
    fields: Sequence[str], targets: Targets, where: str, unlabelled: bool = False
) -> str:
    """The label of a line in the data folder's form: a class, or numbers (0 or 1 for each class).

    With ``unlabelled`` a missing one gives an example without a label.

    Raises:
        ValueError: beginning with ``where``, for a missing label (unless ``unlabelled``), an
            unknown class, or not a finite number.
    """
    fields, classes = [field.strip() for field in fields], targets.classes
    if classes is not None and class_name(fields[0]) in classes and not targets.multi_label:
        return class_name(fields[0])
    if _lacks(fields, targets):
        if unlabelled and _lacks_all(fields):
            return targets.no_label(len(fields))
        word = next((field for field in fields if not is_blank(field)), "")
        detail, named = "", ""
        if not _lacks_all(fields):
            detail = f" beside {shown(word)}"
        elif word:
            detail = f", which is written {shown(word)}"
            if classes is not None and not targets.fixed:
                named = f"; if that is a class: {labels_flag([*classes, word])}"
        raise ValueError(
            f"{where}: label must be given, got an empty one{detail} (--skip-bad-lines skips the "
            f"line; `encode --unlabelled` allows it in the training file{named})"
        )
    if classes is None:
        return " ".join(_parse_number(field, targets.maximum, where) for field in fields)
    if targets.multi_label:
        return " ".join(_multi_hot(fields, targets, where))
    alike = [name for name in classes if likeness(name) == likeness(fields[0])]
    hint = ""
    if alike:
        hint = f"; it looks like {ascii(alike[0])}: write them alike"
    elif not targets.fixed:
        hint = f"; if that is a class: {labels_flag([*classes, fields[0]])}"
    hint += f" ({HINT})" if "," in fields[0] else ""
    allowed = listed(classes[:SHOWN])
    more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    raise ValueError(f"{where}: label must be one of {allowed}{more}, got {shown(fields[0])}{hint}")


def _multi_hot(fields: Sequence[str], targets: Targets, where: str) -> List[str]:
    """0 or 1 for each class, from a column with names of classes, or from a column for each."""
    if targets.separator is not None:
        one = targets._replace(multi_label=False, separator=None)
        parts = split_classes(fields[0], targets.separator)
        named = {parse_label([part], one, where) for part in parts}
        return [str(int(name in named)) for name in targets.classes]
    values = [likeness(field) for field in fields]  # true is 1, and so is 1.0
    for name, field, value in zip(targets.classes, fields, values):
        if value not in ("0", "1"):
            raise ValueError(f"{where}: label of {name} must be 0 or 1, got {shown(field)}")
    return values


def split_classes(field: str, separator: Optional[str]) -> List[str]:
    """The names of classes in a field: its parts, without empty ones, or None: all of it."""
    if separator is None:
        return [field.strip()]
    return [part.strip() for part in field.split(separator) if not is_blank(part)]


def _parse_number(field: str, maximum: Optional[float], where: str) -> str:
    if not (NUMBER.fullmatch(field) or NOT_FINITE.fullmatch(field)):
        raise ValueError(f"{where}: score must be a number, got {shown(field)}")
    value = float(field)
    if maximum is None:
        if not abs(value) <= LARGEST:
            raise ValueError(f"{where}: score must be a finite number of 32 bits, got {field}")
        return field
    if not 0 <= value <= maximum:
        raise ValueError(f"{where}: score must be in [0, {maximum:g}], got {field}")
    return repr(value / maximum)


def spelling_of(
    classes: Sequence[str], named: Sequence[str], table: Table, columns: Columns
) -> Dict[str, str]:
    """The classes that have blanks as --labels has them (``named``), else as the table has them."""
    found = map(str, columns.labels)
    if len(columns.labels) == 1:
        fields = (fields[table.labels[0]] for _, fields in table.lines)
        found = (name for field in fields for name in split_classes(field, columns.separator))
    names = [*named, *found]
    spelt = {class_name(name): " ".join(name.split()) for name in reversed(names)}
    return {name: spelt[name] for name in classes if spelt.get(name, name) != name}


def find_classes(
    table: Table, separator: Optional[str] = None, known: Sequence[str] = ()
) -> Tuple[str, ...]:
    """The sorted classes of a table: as numbers if all are numbers, else as text.

    Args:
        separator: of several classes in a field; None: a field is one class
        known: classes, whatever they mean elsewhere

    Raises:
        ValueError: as :func:`check_classes`, and for labels that look alike or have invisible
            characters.
    """
    (column,) = table.labels
    lines: Dict[str, int] = {}  # first line of each label
    for number, fields in table.lines:
        for name in split_classes(fields[column], separator):
            lines.setdefault(name, number)
    polarity, named = {"+", "-"} <= set(lines), {*map(likeness, known)}
    labels = [
        x
        for x in lines
        if not is_missing(x)
        or (x == "-" and polarity)
        or (not is_blank(x) and likeness(x) in named)
    ]
    alike: Dict[str, str] = {}
    for label in labels:
        if unseen(label):
            raise ValueError(
                f"{table.where(lines[label])}: label {ascii(label)} holds {unseen(label)}, which "
                f"is invisible: remove it, or name all classes with --labels if it is intended"
            )
        other = alike.setdefault(likeness(label), label)
        if other != label:
            raise ValueError(
                f"{table.where(lines[label])}: label {ascii(label)} looks like {ascii(other)} of "
                f"line {lines[other]}: write them alike, or, if both are classes: "
                f"{labels_flag(_in_order(labels))}"
            )
    taken = [label for label in lines if label not in labels and not is_blank(label)]
    if len(labels) < 2 and taken:
        raise ValueError(
            f"{table.where(lines[taken[0]])}: label {shown(taken[0])} is read as a missing one, "
            f"but at least 2 classes are needed; if it is a class: "
            f"{labels_flag(_in_order([*labels, *taken]))}"
        )
    return check_classes(_in_order(labels), f"{table.path}: --label")


def _in_order(labels: Sequence[str]) -> List[str]:
    """Sorted as numbers if all are numbers, else as text."""
    numbers = all(map(NUMBER.fullmatch, labels))
    return sorted(labels, key=lambda label: (float(label) if numbers else 0, label))


def check_classes(labels: Sequence[str], where: str) -> Tuple[str, ...]:
    """The names of classes.

    Raises:
        ValueError: beginning with ``where``, for fewer than two, and for labels that fairseq's
            dictionary could not distinguish from each other or from its own symbols.
    """
    names = [class_name(label) for label in labels]
    if len(names) < 2:
        raise ValueError(
            f"{where} must have at least 2 classes, got {len(names)} ({join_names(names)}): "
            "--labels can name one that does not occur"
        )
    for i, name in enumerate(names):
        if not name or name in FAIRSEQ_SPECIAL or name.startswith("madeupword"):
            raise ValueError(
                f"{where}: a class must not be empty or a symbol of fairseq, got {labels[i]!r}"
            )
        if name in names[:i]:
            raise ValueError(
                f"{where}: classes must differ, got {labels[names.index(name)]!r} and {labels[i]!r}"
                f", which both become {name}"
            )
    return tuple(names)
