"""Names on a command line, separated by commas, and written so that they can be typed again."""

import csv
import io
from typing import Iterable, List

HINT = """a name with a comma stands in quotation marks, as in '"Yes, sure",No'"""


def split_names(text: str) -> List[str]:
    """The names of A,B,...; quotation marks hold one with a comma together, as in CSV.

    Raises:
        ValueError: where a quotation mark is not closed.
    """
    try:
        return next(csv.reader([text], strict=True, skipinitialspace=True)) or [text]
    except csv.Error as error:
        raise ValueError(f"{text}: {error}; {HINT}") from error


def join_names(values: Iterable[str]) -> str:
    """What :func:`split_names` makes these values of."""
    file = io.StringIO()
    csv.writer(file, lineterminator=",").writerows([value] for value in values)
    return file.getvalue()[:-1]
