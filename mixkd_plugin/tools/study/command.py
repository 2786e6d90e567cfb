"""Compare methods (arms) on equal terms: a `fairseq-train` for each task, fraction, arm and seed.

Each finished run is a line of OUT/results.jsonl, for `mixkd report`. The same command resumes a
stopped study. Several machines may share OUT. The keys of a study are in examples/glue/README.md.
"""

import argparse
import sys
from pathlib import Path

from ..cli import command_parser, extra, positive, run_cli

EXAMPLE = "minilm --glue GLUE --out study --jobs 2 --set 'tasks=[RTE]' --set seeds=[1]"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("study", __doc__, EXAMPLE)
    add = parser.add_argument
    add("study", metavar="STUDY", help="a YAML file, or one of examples/glue by its name: minilm")
    add("overrides", nargs="*", metavar="KEY=VALUE", help=argparse.SUPPRESS)  # as --set
    add("--glue", metavar="DIR", help="folder with the folders of the tasks (default: glue.gold)")
    add("--out", metavar="DIR", help="folder of the study; one that is there is resumed (required)")
    add("--jobs", type=positive, metavar="N", help="runs at a time, on each GPU (default: 1) or on "
        "the CPU (default: one for 4 cores)")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of the study, "
        "in hydra's syntax; may be repeated (default: none)")  # fmt: skip
    add("--list", action="store_true", help="print the names of the runs, and do none")
    return parser


def file_of(study: str) -> str:
    """The YAML file of a study's name."""
    from .study import STUDIES

    known = STUDIES / f"{study}.yaml"
    if Path(study).is_file() or not known.is_file():
        return study  # read_study refuses what is no file
    return str(known)


def work(args: argparse.Namespace) -> int:
    with extra("report"):
        from . import plan
        from .commands import JobFailed
        from .study import read_study, run_study

    given = {"glue.gold": args.glue, "out": args.out, "jobs": args.jobs}
    given = {key: value for key, value in given.items() if value is not None}
    study = read_study(file_of(args.study), [*args.overrides, *args.set], given)
    if args.list:
        print("\n".join(run.folder for run in plan.all_runs(study)))
        return 0
    try:
        ends = run_study(study)
    except JobFailed as error:
        raise ValueError(str(error)) from error
    except (KeyboardInterrupt, SystemExit):
        print("study: stopped; the same command resumes", file=sys.stderr)
        raise
    print(", ".join(f"{count} {end}" for end, count in sorted(ends.items())) or "nothing to do")
    return int(ends["failed"] > 0)


def main(argv=None):
    run_cli("study", build_parser, work, argv)
