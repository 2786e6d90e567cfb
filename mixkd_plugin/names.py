"""Names of flags and of classes, and several in one value, separated by commas."""

import csv
import io
from typing import Iterable, List

HINT = """a name with a comma must be in quotation marks, as in '"Yes, sure",No'"""


def as_flag(name: str) -> str:
    """The flag of a setting: ``mixup_alpha`` -> ``--mixup-alpha``."""
    return f"--{name.replace('_', '-')}"


def class_name(label: str) -> str:
    """The name in fairseq's dict.txt, whose symbols have no blanks."""
    return "_".join(label.split())


def split_names(text: str) -> List[str]:
    """The names of A,B,..., as in CSV; ValueError if a quotation mark is not closed."""
    try:
        return next(csv.reader([text], strict=True, skipinitialspace=True)) or [text]
    except csv.Error as error:
        raise ValueError(f"{text}: {error}; {HINT}") from error


def join_names(values: Iterable[str]) -> str:
    """The inverse of :func:`split_names`."""
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow(values)
    return file.getvalue()
