"""The command `python -m mixkd_plugin.tools.compare`, and `main` for Python."""


def main(argv=None):
    from .compare import main as command

    command(argv)
