"""List the flags of `fairseq-train` that this plugin adds, and fairseq's that matter beside them.

`fairseq-train --help` shows none of ours. With a pattern all of fairseq's are searched.
"""

import argparse

from ..cli import command_parser, run_cli


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("flags", __doc__, "temperature")
    what = "part of a flag's name or help, in any case (default: all of ours, some of fairseq's)"
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help=what)
    return parser


def work(args: argparse.Namespace) -> None:
    from .flags import listing

    print(listing(args.pattern))


def main(argv=None):
    run_cli("flags", build_parser, work, argv)
