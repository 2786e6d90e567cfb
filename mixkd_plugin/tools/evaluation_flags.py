"""The flags that `compare` and `serving_report` share."""

import argparse
import os
from typing import Any

from .cli import add_checkpoint_flags, add_out, import_user_dir, positive
from .output import check_out


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    add = parser.add_argument
    add("data", metavar="DATA_DIR", help="data folder of the task, with a labelled split")
    add("checkpoints", nargs="+", metavar="NAME=CHECKPOINT", help="models, with names for them")
    add("--teacher", metavar="NAME", help="name of the teacher (default: the first)")
    add("--teacher-data", metavar="DIR", help="the teacher's data (default: DATA_DIR)")
    add_out(parser, f"folder for {out}")
    add("--split", default="valid", metavar="NAME",
        help="labelled split to score (default: %(default)s)")  # fmt: skip
    add("--batch-size", type=positive, default=32, metavar="N",
        help="texts in a batch (default: %(default)s)")  # fmt: skip
    add("--rounds", type=positive, default=5, metavar="N",
        help="timed rounds, >= 1 (default: %(default)s)")  # fmt: skip
    add("--labels", metavar="A,B,...", help="the data's labels in the order of the outputs, for "
        "checkpoints whose classes have other names (default: matched by names, or by their "
        "predictions)")  # fmt: skip
    add_checkpoint_flags(parser)


def prepare(args: argparse.Namespace) -> dict[str, str]:
    """NAME=PATH ... as {name: path}; checks --out and imports --user-dir.

    Sets ``teacher`` if it was not given.
    """
    paths: dict[str, str] = {}
    for item in args.checkpoints:
        name, _, path = item.partition("=")
        if not name or not path or name in paths:
            raise ValueError(f"NAME=CHECKPOINT must have a name and a file, once, got {item!r}")
        if {"/", os.sep} & {*name} or name in (".", ".."):  # it becomes a folder in --out
            raise ValueError(f"NAME=CHECKPOINT must have a NAME without slashes, got {name}")
        paths[name] = path
    args.teacher = args.teacher or next(iter(paths))
    if args.teacher not in paths:
        raise ValueError(f"--teacher must be one of {', '.join(paths)}, got {args.teacher}")
    check_out(args.out, args.force)
    import_user_dir(args.user_dir)
    return paths


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of :func:`evaluation.evaluation`."""
    names = ("split", "batch_size", "rounds", "teacher_data", "labels")
    return {name: getattr(args, name) for name in names} | {"head": args.classification_head_name}
