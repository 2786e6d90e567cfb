"""The command `mixkd`, and `python -m mixkd_plugin`: all commands under one name."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from .tools.cli import become_command

COMMANDS = {  # module of tools, and what it does
    "distil": ("distil", "from a classifier and a table of texts to a student that can be served"),
    "import": ("import_hf", "a Hugging Face model to a fairseq checkpoint"),
    "encode": ("encode", "texts and labels to a data folder of fairseq"),
    "compare": ("compare", "quality, size and speed of checkpoints on one data folder"),
    "export": ("export", "a student to Hugging Face or ONNX"),
    "predict": ("predict", "labels and probabilities of any number of texts"),
    "serving-report": ("serving_report", "size, latency and quality in each format of serving"),
    "study": ("study", "methods compared on equal terms: tasks x fractions x arms x seeds"),
    "report": ("report", "a study's results as tables and figures"),
    "flags": ("flags", "the flags of `fairseq-train` with this plugin"),
}


def build_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="mixkd",
        usage="mixkd COMMAND ...",
        description="Make a small text classifier from a large one, by distillation and mixup.\n"
        "Training is done by fairseq. Begin with `mixkd distil`.",
        epilog=f"commands:\n{listed}\n\nexample:\n  mixkd distil --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; ``argv``: default `sys.argv[1:]`.

    Raises:
        SystemExit: with the exit code, unless it is 0.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    name = build_parser().parse_args(words[:1]).command
    if argv is None:
        become_command(name)
    try:
        tool = importlib.import_module(f".tools.{COMMANDS[name][0]}", __package__)
    except ImportError as error:
        sys.exit(f"mixkd {name}: {error}")
    tool.main(words[1:])


if __name__ == "__main__":
    main()
