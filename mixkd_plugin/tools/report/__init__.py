"""The command `python -m mixkd_plugin.tools.report`, and `main` for Python."""

from ..cli import extra


def main(argv=None):
    with extra("report"):
        from .report import main as command

    command(argv)
