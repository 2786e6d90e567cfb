"""The command `python -m mixkd_plugin.tools.export`, and `main` for Python."""


def main(argv=None):
    from .export import main as command

    command(argv)
