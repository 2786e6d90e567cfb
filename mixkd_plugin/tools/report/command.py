"""Turn the results of a study into tables and figures.

Differences between arms are taken by seed, and shown with their 95% intervals.
"""

import argparse
import os
from pathlib import Path

from ..cli import add_out, command_parser, extra, run_cli
from ..output import atomic_write, check_out

EXAMPLE = "study/results.jsonl --out report --baselines FT,KD"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("report", __doc__, EXAMPLE)
    add = parser.add_argument
    add("results", nargs="+", metavar="RESULTS", help="results.jsonl of a study")
    add_out(parser, "folder for report.md and the figures")
    help = "arms to compare with; the last one also in the figure (default: FT,KD)"
    add("--baselines", metavar="ARM,ARM", help=help)
    return parser


def work(args: argparse.Namespace) -> None:
    with extra("report"):
        from ..results import read_results
        from .report import choose_baselines, write_report

    check_out(args.out, args.force)
    results = read_results(args.results)
    baselines = choose_baselines(results, args.baselines)
    os.makedirs(args.out, exist_ok=True)
    text = write_report(results, args.out, baselines)
    print(text)
    atomic_write(Path(args.out, "report.md"), text)


def main(argv=None):
    run_cli("report", build_parser, work, argv)
