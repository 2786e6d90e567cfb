"""The command `python -m mixkd_plugin.tools.import_hf`, and `main` for Python."""


def main(argv=None):
    from .import_hf import main as command

    command(argv)
