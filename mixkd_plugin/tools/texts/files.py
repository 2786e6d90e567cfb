"""Files of texts line by line: TSV, CSV, JSON lines, a text on each line."""

import csv
import json
import os
import sys
from typing import Dict, Iterator, List, Optional, TextIO, Tuple, Union

from ...fingerprints import check_regular
from .likeness import listed

Row = Union[List[str], Dict[str, object], str]  # an object of JSON; a text is an error


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


def read_rows(path: str, kind: str, blank: bool = False) -> Iterator[Tuple[int, Row]]:
    """Number and content of each line of a file in one of READERS; - is standard input.

    Args:
        blank: also empty lines of TSV and CSV, as rows without fields
    """
    if path != STDIN and not os.path.exists(path):
        raise ValueError(f"no file {path}")
    if path != STDIN:
        check_regular(path)
    read, newline = READERS[kind]
    try:
        # utf-8-sig: some files (MRPC) begin with a byte-order mark
        source = sys.stdin.fileno() if path == STDIN else path
        with open(source, encoding="utf-8-sig", newline=newline, closefd=path != STDIN) as file:
            yield from (row for row in read(path, file) if row[1] != [] or blank)
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
        yield number, line.split("\t") if line else []


def _csv(path: str, file: TextIO) -> Iterator[Tuple[int, Row]]:
    """A field may be in quotation marks; a doubled one in it is one character (RFC 4180)."""
    csv.field_size_limit(2**31 - 1)  # default 128 KiB: a text may be longer
    reader, number = csv.reader(file, strict=True), 1
    try:
        for fields in reader:
            yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:  # never skipped: the rest after an open quotation mark is unknown
        raise ValueError(f"{path}, line {number}: not CSV: {error}") from error


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
            yield (
                number,
                record if isinstance(record, dict) else f"not an object: {kind_of(record)}",
            )


def _object(pairs: List[Tuple[str, object]]) -> Dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"a name of {listed(record)} occurs twice in one object")
    return record


def _constant(name: str) -> Optional[float]:
    """Python's json writes a missing value as NaN."""
    return None if name == "NaN" else float(name)


def kind_of(value: object) -> str:
    return {list: "a list", dict: "an object", str: "a text", bool: "true or false"}.get(
        type(value), "null" if value is None else f"the number {value}"
    )


# reader and end of line of each format: in TSV and JSON lines a single \r is no end
FORMATS = {"tsv": (_tsv, "\n"), "csv": (_csv, ""), "jsonl": (_jsonl, "\n")}
ALLOWED = ", ".join(FORMATS)
READERS = {**FORMATS, "txt": (_txt, "\n")}  # a text on each line, without a header
STDIN = "-"
