"""Errors of other libraries inside our own sentences."""


def in_short(error: object) -> str:
    """The beginning of an error's text, in one line."""
    return " ".join(str(error).split())[:300]
