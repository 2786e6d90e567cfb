"""The command `mixkd distil`, and `main` for Python."""

from .command import build_parser, main

__all__ = ["build_parser", "main"]
