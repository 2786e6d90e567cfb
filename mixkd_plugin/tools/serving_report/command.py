"""Measure what a teacher and its students cost to serve in each format: a table and a figure.

Measured are quality, size, latency of one text, and texts a second, on this machine's CPU.
"""

import argparse
import os
from typing import Any

from ..cli import add_tokenizer, command_parser, run_cli
from ..evaluation_flags import add_arguments, options_of, prepare
from ..export.formats import FORMATS
from ..remembered import named_tokenizer

FORMS = ("fairseq", *FORMATS)
EXAMPLE = "data teacher=teacher/checkpoint_last.pt student=student/checkpoint_last.pt --out serving"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("serving-report", __doc__, EXAMPLE)
    add_arguments(parser, out="serving.md, serving.json, serving.png and exports")
    add = parser.add_argument
    add_tokenizer(parser, "DATA_DIR")
    add("--teacher-tokenizer", metavar="KIND:PATH",
        help="tokenizer of --teacher-data (default: the one that encoded it)")  # fmt: skip
    add("--formats", default=",".join(FORMS), metavar="A,B,...",
        help="what to measure (default: %(default)s)")  # fmt: skip
    return parser


def work(args: argparse.Namespace) -> None:
    import torch

    from ..evaluation import markdown, write
    from ..plots import pyplot
    from .serving_report import MEASURES, SINGLE_TEXTS, plot_serving, serving_report

    paths = prepare(args)
    pyplot()
    formats = args.formats.split(",")
    if not set(formats) <= set(FORMS):
        raise ValueError(f"--formats must be of {', '.join(FORMS)}, got {args.formats}")
    if args.teacher_data is None and args.teacher_tokenizer is not None:
        raise ValueError(
            f"--teacher-tokenizer {args.teacher_tokenizer} needs --teacher-data, which is missing"
        )
    tokenizer = named_tokenizer(args.data, args.tokenizer)
    of_teacher = None
    if args.teacher_data is not None:
        of_teacher = named_tokenizer(
            args.teacher_data, args.teacher_tokenizer, "--teacher-tokenizer"
        )
    os.makedirs(args.out, exist_ok=True)
    rows, count = serving_report(
        args.data, paths, args.teacher, tokenizer, args.out, formats, of_teacher,
        **options_of(args),
    )  # fmt: skip
    threads = torch.get_num_threads()
    about: dict[str, Any] = {"teacher": args.teacher, "texts": count, "threads": threads}
    table = markdown(rows, MEASURES) + (
        f"\n\n{count} texts of `{args.split}`; agreement is with {args.teacher} in fairseq. On "
        f"the CPU, {threads} thread{'s' if threads > 1 else ''}; latency of up to {SINGLE_TEXTS} "
        f"texts, one at a time; texts a second in batches of {args.batch_size} of similar length.\n"
    )
    write(args.out, "serving", rows, about, table)
    plot_serving(rows, os.path.join(args.out, "serving.png"))


def main(argv=None):
    run_cli("serving-report", build_parser, work, argv)
