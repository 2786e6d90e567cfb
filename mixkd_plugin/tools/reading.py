"""Files of examples as tables, with checks: TSV, CSV, JSON lines."""

import csv
import json
import os
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, TextIO, Tuple, Union

Column = Union[str, int]  # by name, or by position from 0 where the file has no header line
Row = Union[List[str], Dict[str, object], str]  # an object of JSON; a text says what is wrong


class Columns(NamedTuple):
    """Which columns of a file matter: all by name, or all by position."""

    texts: Tuple[Column, ...]  # one, or the two of a pair
    labels: Tuple[Column, ...]  # one; of a regression one for each target


class Table(NamedTuple):
    """A file's lines in fields, and which of them matter."""

    path: str
    header: List[str]  # empty where the file has none
    lines: List[Tuple[int, List[str]]]  # (line number in the file, where it begins; fields)
    texts: Tuple[int, ...]
    labels: Tuple[int, ...]
    bad: int  # lines that were left out

    def where(self, number: int) -> str:
        return f"{self.path}, line {number}"


def read_table(
    path: str, columns: Columns, kind: Optional[str] = None, skip_bad_lines: bool = False
) -> Table:
    """A file as it is, with the columns found. ``kind`` is one of FORMATS (default: the suffix).

    Raises:
        ValueError: naming file and line, for a missing file or column, or a line that cannot be
            read or lacks a field (unless ``skip_bad_lines``).
    """
    rows = _read_rows(path, kind or format_of(path))
    if not rows:
        raise ValueError(f"{path} is empty")
    if isinstance(rows[0][1], list):
        header, texts, labels, width = _locate(path, columns, rows[0][1])
        rows = [(n, _checked(fields, width)) for n, fields in rows[1 if header else 0 :]]
    else:
        header = [*columns.texts, *columns.labels]
        places = range(len(header))
        texts, labels = places[: len(columns.texts)], places[len(columns.texts) :]
        rows = [(n, _picked(record, header)) for n, record in rows]

    bad = [f"{path}, line {n}: {row}" for n, row in rows if isinstance(row, str)]
    if bad and not skip_bad_lines:
        raise ValueError(f"{bad[0]} (--skip-bad-lines leaves such lines out)")
    if len(bad) == len(rows):
        raise ValueError(f"{path} holds no example{': ' + bad[0] if bad else ''}")
    lines = [(n, row) for n, row in rows if not isinstance(row, str)]
    return Table(path, header, lines, tuple(texts), tuple(labels), len(bad))


def format_of(path: str) -> str:
    """By its suffix.

    Raises:
        ValueError: for another suffix than those of FORMATS.
    """
    suffix = os.path.splitext(path)[1][1:]
    if suffix not in FORMATS:
        raise ValueError(f"{path}: no format has this suffix; --format says which: {ALLOWED}")
    return suffix


def _read_rows(path: str, kind: str) -> List[Tuple[int, Row]]:
    if not os.path.isfile(path):
        raise ValueError(f"no file {path}")
    read, newline = FORMATS[kind]
    try:
        # utf-8-sig: some files (MRPC) begin with a byte-order mark
        with open(path, encoding="utf-8-sig", newline=newline) as file:
            return list(read(path, file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error


# --- TSV and CSV ---


def _tsv(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    """Split at tabs and nothing else: a quotation mark is a character, as in csv.QUOTE_NONE."""
    for number, line in enumerate(file, 1):
        yield number, line.rstrip("\r\n").split("\t")


def _csv(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    """Quotation marks hold a field together, and double ones in it stand for one (RFC 4180)."""
    csv.field_size_limit(2**31 - 1)  # in place of 128 KiB: a text may be long
    reader, number = csv.reader(file, strict=True), 1
    try:
        for fields in reader:
            yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:  # never skipped: what follows an open quotation mark is anyone's
        raise ValueError(f"{path}, line {number}: not CSV: {error}") from error


def _locate(path: str, columns: Columns, first: Sequence[str]):
    """Header, positions of texts and of labels, and width; from the first line."""
    wanted = [*columns.texts, *columns.labels]
    if isinstance(wanted[0], int):
        if max(wanted) >= len(first):
            raise ValueError(f"{path}: {len(first)} fields a line, {max(wanted) + 1} are needed")
        return [], columns.texts, columns.labels, len(first)
    missing = [c for c in wanted if c not in first]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}, only {', '.join(first)}")
    for column in wanted:
        if first.count(column) > 1:
            raise ValueError(f"{path}: {first.count(column)} columns are called {column}")
    texts, labels = ([first.index(c) for c in group] for group in columns)
    return list(first), texts, labels, len(first)


def _checked(fields: List[str], width: int) -> Row:
    if len(fields) == width:
        return fields
    return f"{len(fields)} fields where the first line has {width}"


# --- JSON lines ---


def _jsonl(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    for number, line in enumerate(file, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
        else:
            yield number, record if isinstance(record, dict) else f"not an object: {record!r:.40}"


def _picked(record: Row, keys: Sequence[str]) -> Row:
    """The values of ``keys`` as text, of an object; what is wrong, where they cannot be had."""
    if isinstance(record, str):
        return record
    missing = [key for key in keys if key not in record]
    if missing:
        return f"no column {', '.join(missing)}, only {', '.join(record)}"
    values = [record[key] for key in keys]
    for key, value in zip(keys, values):
        if isinstance(value, (list, dict)):
            return f"{key} is {json.dumps(value):.40}; allowed: text, a number, true, false, null"
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    texts = ["" if value is None else text for value, text in zip(values, texts)]
    for key, text in zip(keys, texts):
        if re.search("[\ud800-\udfff]", text):
            return f"{key} is {json.dumps(text):.40}, half of a surrogate pair: no text"
    return texts


# of each format the reader, and what ends a line: in TSV and JSON lines a stray \r does not
FORMATS = {"tsv": (_tsv, "\n"), "csv": (_csv, ""), "jsonl": (_jsonl, "\n")}
ALLOWED = ", ".join(FORMATS)
