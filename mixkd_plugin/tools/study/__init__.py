"""The command `python -m mixkd_plugin.tools.study`, and `main` for Python."""

from ..cli import extra


def main(argv=None):
    with extra("report"):
        from .study import main as command

    command(argv)
