"""Files of examples as tables, with checks: TSV, CSV, JSON lines."""

import itertools
import json
import math
import re
from functools import partial
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from ...names import HINT
from .files import Row, format_of, kind_of, read_rows
from .likeness import listed

NAME_THEM = "name a text's classes, or give a column of 0 and 1 for each (--label A,B,...)"
Column = Union[str, int]  # by name, or by position from 0 where the file has no header line


class Columns(NamedTuple):
    """The columns of a file to read: all by name, or all by position."""

    texts: Tuple[Column, ...]  # one, or two for pairs
    labels: Tuple[Column, ...]  # one; for regression one per target
    separator: Optional[str] = None  # of several labels in a column: JSON may have a list of them


class Stream(NamedTuple):
    """A table that is read line by line."""

    header: List[str]  # empty without a header
    texts: Tuple[int, ...]  # positions of the columns
    labels: Tuple[int, ...]
    rows: Iterator[Tuple[int, Union[List[str], str]]]  # first line in the file, fields or an error


class Table(NamedTuple):
    """A file's lines in fields, and the columns to read."""

    path: str
    header: List[str]  # empty without a header
    lines: List[Tuple[int, List[str]]]  # (first line in the file, fields)
    texts: Tuple[int, ...]
    labels: Tuple[int, ...]
    bad: int  # lines that were left out

    def where(self, number: int) -> str:
        return f"{self.path}, line {number}"


def read_table(
    path: str, columns: Columns, kind: Optional[str] = None, skip_bad_lines: bool = False
) -> Table:
    """A file's fields, and the positions of its columns. ``kind``: of FORMATS (default: by suffix).

    Raises:
        ValueError: with file and line, for a missing file or column, or a line that cannot be
            read or lacks a field (unless ``skip_bad_lines``).
    """
    stream = stream_table(path, lambda _first: columns, kind)
    lines, bad, reason = [], 0, ""
    for number, row in stream.rows:
        if not isinstance(row, str):
            lines.append((number, row))
        elif skip_bad_lines:
            bad += 1
            reason = reason or f": {path}, line {number}: {row}"
        else:
            raise ValueError(f"{path}, line {number}: {row} (--skip-bad-lines skips such lines)")
    if not lines:
        raise ValueError(f"{path} has no example{reason}")
    return Table(path, stream.header, lines, stream.texts, stream.labels, bad)


def stream_table(
    path: str,
    columns_of: Callable[[List[str]], Columns],
    kind: Optional[str] = None,
    blank: bool = False,
) -> Stream:
    """A file's fields, line by line.

    Args:
        columns_of: the columns to read, from the names in it
        blank: an empty line of a table of one column is an empty text (default: it is skipped, as
            in other tables)

    Raises:
        ValueError: for a file that is empty or lacks a column.
    """
    rows = read_rows(path, kind or format_of(path), blank)
    first = next((row for row in rows if row[1] != []), None)
    if first is None:
        raise ValueError(f"{path} is empty")
    names = [] if isinstance(first[1], str) else list(first[1])
    columns = columns_of(names)
    if isinstance(first[1], list):
        header, texts, labels, width = _locate(path, columns, first[1])
        check = partial(_checked, width=width)
        rows = (row for row in rows if row[1] or width == 1)
        rows = rows if header else itertools.chain([first], rows)
    else:
        header = [*columns.texts, *columns.labels]
        places = range(len(header))
        texts, labels = places[: len(columns.texts)], places[len(columns.texts) :]
        check = partial(_picked, columns=columns)
        rows = itertools.chain([first], rows)
        if columns.separator and columns.labels:
            rows = _without_vectors(path, rows, columns.labels[0])
    checked = ((number, check(row)) for number, row in rows)
    return Stream(header, tuple(texts), tuple(labels), checked)


def _locate(path: str, columns: Columns, first: Sequence[str]):
    """Header, positions of texts and of labels, and width; from the first line."""
    wanted = [*columns.texts, *columns.labels]
    if isinstance(wanted[0], int):
        if max(wanted) >= len(first):
            raise ValueError(
                f"{path} must have {max(wanted) + 1} fields in a line, got {len(first)}"
            )
        return [], columns.texts, columns.labels, len(first)
    missing = [c for c in wanted if c not in first]
    if missing:
        hint = f" ({HINT})" if any("," in name for name in first) else ""
        raise ValueError(f"{path}: no column {listed(missing)}, only {listed(first)}{hint}")
    for column in wanted:
        if first.count(column) > 1:
            raise ValueError(f"{path}: {first.count(column)} columns are called {column}")
    texts, labels = ([first.index(c) for c in group] for group in columns[:2])
    return list(first), texts, labels, len(first)


def _checked(fields: List[str], width: int) -> Row:
    fields = fields or [""]
    if len(fields) == width:
        return fields
    return f"{len(fields)} fields where the first line has {width}"


def _picked(record: Row, columns: Columns) -> Row:
    """The values of an object's columns as text, or a text with an error.

    An example must have its texts; a label may be missing.
    """
    if isinstance(record, str):
        return record
    keys, texts = [*columns.texts, *columns.labels], len(columns.texts)
    missing = [key for key in keys if key not in record]
    if missing:
        return f"no column {listed(missing)}, only {listed(record)}"
    fields = []
    for key in keys:
        value = record[key]
        if isinstance(value, list) and len(fields) >= texts and columns.separator:
            value = _joined(value, columns.separator)
            if value is None:
                return (
                    f"{key} must be a list of different names without {columns.separator}, got "
                    f"{json.dumps(record[key]):.80}: {NAME_THEM}"
                )
        if value is None:
            if len(fields) < texts:
                return f'{key} is null or NaN, a missing value; an empty text is ""'
            value = "null" if columns.separator else ""  # an empty list is a text with no class
        elif isinstance(value, (list, dict)) or value in (math.inf, -math.inf):
            return f"{key} must be text, a finite number, true, false or null, got {kind_of(value)}"
        text = value if isinstance(value, str) else json.dumps(value)
        if re.search("[\ud800-\udfff]", text):
            return f"{key} is {json.dumps(text):.40}, half of a surrogate pair: no text"
        fields.append(text)
    return fields


def _without_vectors(
    path: str, rows: Iterable[Tuple[int, Row]], key: Column
) -> Iterator[Tuple[int, Row]]:
    """The rows; ValueError after them if each list of labels is a 0 or 1 for each class."""
    sizes = set()
    for number, row in rows:
        value = row.get(key) if isinstance(row, dict) else None
        if isinstance(value, list):
            numbers = all(isinstance(x, int) and x in (0, 1) for x in value)
            sizes.add(len(value) if numbers else 0)
        yield number, row
    if len(sizes) == 1 and min(sizes) > 1:
        raise ValueError(
            f"{path}: {key} must be lists of names, got lists of {min(sizes)} numbers, all 0 or 1: "
            f"{NAME_THEM}"
        )


def _joined(names: Sequence[object], separator: str) -> Optional[str]:
    """Names of labels as in a field of CSV; None if they are none, such as a 0 or 1 for each."""
    plain = all(type(name) in (str, int) and separator not in str(name) for name in names)
    different = len({*map(str, names)}) == len(names)
    return separator.join(map(str, names)) if plain and different else None
