"""Files of examples as tables, with checks: TSV, CSV, JSON lines."""

import csv
import itertools
import json
import math
import os
import re
import sys
from functools import partial
from typing import (
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    TextIO,
    Tuple,
    Union,
)

from ...fingerprints import check_regular
from ...names import HINT
from .likeness import listed

Column = Union[str, int]  # by name, or by position from 0 where the file has no header line
Row = Union[List[str], Dict[str, object], str]  # an object of JSON; a text is an error


class Columns(NamedTuple):
    """The columns of a file to read: all by name, or all by position."""

    texts: Tuple[Column, ...]  # one, or two for pairs
    labels: Tuple[Column, ...]  # one; for regression one per target


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
    path: str, columns_of: Callable[[List[str]], Columns], kind: Optional[str] = None
) -> Stream:
    """A file's fields, line by line; ``columns_of``: the columns to read, from the names in it.

    Raises:
        ValueError: for a file that is empty or lacks a column.
    """
    rows = read_rows(path, kind or format_of(path))
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path} is empty")
    names = [] if isinstance(first[1], str) else list(first[1])
    columns = columns_of(names)
    if isinstance(first[1], list):
        header, texts, labels, width = _locate(path, columns, first[1])
        check = partial(_checked, width=width)
        rows = rows if header else itertools.chain([first], rows)
    else:
        header = [*columns.texts, *columns.labels]
        places = range(len(header))
        texts, labels = places[: len(columns.texts)], places[len(columns.texts) :]
        check = partial(_picked, keys=header, texts=len(texts))
        rows = itertools.chain([first], rows)
    checked = ((number, check(row)) for number, row in rows)
    return Stream(header, tuple(texts), tuple(labels), checked)


def format_of(path: str) -> str:
    """The format of a file, by its suffix.

    Raises:
        ValueError: for a suffix that is not in FORMATS.
    """
    suffix = os.path.splitext(path)[1][1:].lower()
    if suffix not in FORMATS:
        suffixes = " or ".join(f".{name}" for name in FORMATS)
        raise ValueError(
            f"{path} must be a file that ends in {suffixes} (encode and predict also take --format)"
        )
    return suffix


def read_rows(path: str, kind: str) -> Iterator[Tuple[int, Row]]:
    """Number and content of each line of a file in one of READERS; - is standard input."""
    if path != STDIN and not os.path.exists(path):
        raise ValueError(f"no file {path}")
    if path != STDIN:
        check_regular(path)
    read, newline = READERS[kind]
    try:
        # utf-8-sig: some files (MRPC) begin with a byte-order mark
        source = sys.stdin.fileno() if path == STDIN else path
        with open(source, encoding="utf-8-sig", newline=newline, closefd=path != STDIN) as file:
            yield from read(path, file)
    except UnicodeDecodeError as error:
        line = "one that is not" if path == STDIN else f"line {_undecodable(path)}"
        raise ValueError(
            f"{path} must be UTF-8, got {line}: decompress it, or convert it, "
            f"as by iconv -f ENCODING -t UTF-8; ENCODING is often WINDOWS-1252 or UTF-16"
        ) from error


def _undecodable(path: str) -> str:
    """The first line that is not UTF-8, by its number and bytes."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"{number} ({line[max(0, error.start - 20) : error.start + 20]!r})"
    return "0"


# --- text, TSV and CSV ---


def _txt(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    """An empty line is an empty text."""
    for number, line in enumerate(file, 1):
        yield number, [line.rstrip("\r\n")]


def _tsv(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    """Split at tabs only: quotation marks are characters, as in csv.QUOTE_NONE."""
    for number, line in enumerate(file, 1):
        line = line.rstrip("\r\n")
        if line:  # empty lines are skipped, in all formats
            yield number, line.split("\t")


def _csv(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    """A field may be in quotation marks; a doubled one in it is one character (RFC 4180)."""
    csv.field_size_limit(2**31 - 1)  # default 128 KiB: a text may be longer
    reader, number = csv.reader(file, strict=True), 1
    try:
        for fields in reader:
            if fields:
                yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:  # never skipped: the rest after an open quotation mark is unknown
        raise ValueError(f"{path}, line {number}: not CSV: {error}") from error


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
    texts, labels = ([first.index(c) for c in group] for group in columns)
    return list(first), texts, labels, len(first)


def _checked(fields: List[str], width: int) -> Row:
    if len(fields) == width:
        return fields
    return f"{len(fields)} fields where the first line has {width}"


# --- JSON lines ---


def _jsonl(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    load = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = load(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
        else:
            yield number, record if isinstance(record, dict) else f"not an object: {_kind(record)}"


def _object(pairs: List[Tuple[str, object]]) -> Dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"a name of {listed(record)} occurs twice in one object")
    return record


def _constant(name: str) -> Optional[float]:
    """Python's json writes a missing value as NaN."""
    return None if name == "NaN" else float(name)


def _kind(value: object) -> str:
    return {list: "a list", dict: "an object", str: "a text", bool: "true or false"}.get(
        type(value), "null" if value is None else f"the number {value}"
    )


def _picked(record: Row, keys: Sequence[str], texts: int) -> Row:
    """The values of an object's ``keys`` as text, or a text with an error.

    The first ``texts`` keys are texts, which an example must have; a label may be missing.
    """
    if isinstance(record, str):
        return record
    missing = [key for key in keys if key not in record]
    if missing:
        return f"no column {listed(missing)}, only {listed(record)}"
    fields = []
    for key in keys:
        value = record[key]
        if value is None:
            if len(fields) < texts:
                return f'{key} is null or NaN, a missing value; an empty text is ""'
            value = ""
        elif isinstance(value, (list, dict)) or value in (math.inf, -math.inf):
            return f"{key} must be text, a finite number, true, false or null, got {_kind(value)}"
        text = value if isinstance(value, str) else json.dumps(value)
        if re.search("[\ud800-\udfff]", text):
            return f"{key} is {json.dumps(text):.40}, half of a surrogate pair: no text"
        fields.append(text)
    return fields


# reader and end of line of each format: in TSV and JSON lines a single \r is no end
FORMATS = {"tsv": (_tsv, "\n"), "csv": (_csv, ""), "jsonl": (_jsonl, "\n")}
ALLOWED = ", ".join(FORMATS)
READERS = {**FORMATS, "txt": (_txt, "\n")}  # a text on each line, without a header
STDIN = "-"
