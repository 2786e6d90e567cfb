"""The command `python -m mixkd_plugin.tools.distil`, and `main` for Python."""

from .options import build_parser  # noqa: F401


def main(argv=None):
    from .distil import main as command

    command(argv)
