"""Compare trained checkpoints on one data folder: quality, size, speed, agreement with the teacher.

Prints a Markdown table; --out gets compare.md, compare.json and compare.png. The first checkpoint
is the teacher unless --teacher names another. Every example of the split counts. Speed is measured
on this machine's CPU: in each round every model computes the same batches, and the median of the
rounds is reported, so that other load on the machine slows all models equally.
"""

import argparse
import os
import sys

from ..cli import command_parser, run_cli
from ..evaluation_flags import add_arguments, options_of, prepare

EXAMPLE = "data teacher=teacher/checkpoint_last.pt mixkd=student/checkpoint_last.pt --out table"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("compare", __doc__, EXAMPLE)
    add_arguments(parser, out="compare.md, compare.json, compare.png")
    title = "title of the plot (default: %(default)s)"
    parser.add_argument("--title", default="Quality and speed", help=title)
    return parser


def work(args: argparse.Namespace) -> None:
    import torch

    from ..evaluation import markdown, write
    from .compare import MEASURES, compare, plot_quality

    paths = prepare(args)
    rows, count = compare(args.data, paths, args.teacher, **options_of(args))
    table = markdown(rows, MEASURES) + (
        f"\n\n{count} examples of `{args.split}`; speed on the CPU, {torch.get_num_threads()} "
        f"threads, batches of {args.batch_size}.\n"
    )
    write(args.out, "compare", rows, {"teacher": args.teacher, "examples": count}, table)
    try:
        plot_quality(rows, args.teacher, args.title, os.path.join(args.out, "compare.png"))
    except ValueError as error:
        print(f"compare: no compare.png: {error}", file=sys.stderr)


def main(argv=None):
    run_cli("compare", build_parser, work, argv)
