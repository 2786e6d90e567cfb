"""Errors of other libraries inside our own sentences."""

import contextlib
from typing import Any, Iterator, Optional


def in_short(error: object) -> str:
    """The beginning of an error's text, in one line."""
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def prefixed(what: str, kinds: Any = ValueError, unless: Optional[str] = None) -> Iterator[None]:
    """An error in its context becomes a ValueError with ``what`` before its text.

    Args:
        kinds: of exception
        unless: an error whose text begins so is left as it is
    """
    try:
        yield
    except kinds as error:
        if unless is not None and str(error).startswith(unless):
            raise
        raise ValueError(f"{what}: {error}") from error
