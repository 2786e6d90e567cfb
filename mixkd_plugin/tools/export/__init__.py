from .command import build_parser, main  # noqa: F401
