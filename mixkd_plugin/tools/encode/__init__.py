"""The command `python -m mixkd_plugin.tools.encode`, and `main` for Python."""


def main(argv=None):
    from .encode import main as command

    command(argv)
