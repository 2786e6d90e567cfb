"""The command `mixkd predict`, and `main` for Python."""

from .command import build_parser, main

__all__ = ["build_parser", "main"]
