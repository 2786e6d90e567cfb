"""The command `python -m mixkd_plugin.tools.serving_report`, and `main` for Python."""


def main(argv=None):
    from .serving_report import main as command

    command(argv)
