"""What `distil` refuses before it reads the data: flags, and the folder of --out."""

import argparse
import os
from pathlib import Path

from ...names import as_flag
from ...tokenizers.specs import parse_spec
from ..output import check_folder
from .recipes import check_recipes
from .source import Source
from .teacher import folder_with

LOCK = Path("work", "distil")
PLAN = "plan.yaml"
REMOVED = ("work", "onnx")  # folders of --out that the steps replace
OF_TRAIN = ("dev", "text", "label", "multi_label", "label_separator", "regression")
RELIED_ON = {  # flags of fairseq-train by which its log and checkpoints are read; and our flags
    **dict.fromkeys(("--max-update", "--max-epoch"), "--updates"),
    "--best-checkpoint-metric": "--metric",
    "--save-dir": "--out",
    "--seed": "--seed",
    **dict.fromkeys(
        (
            *("--no-save", "--no-last-checkpoints", "--save-interval", "--save-interval-updates"),
            *("--disable-validation", "--validate-interval", "--validate-interval-updates"),
            *("--validate-after-updates", "--valid-subset", "--log-format", "--log-interval"),
            *("--restore-file", "--checkpoint-suffix", "--use-sharded-state"),
        )
    ),
}


def check_arguments(args: argparse.Namespace) -> None:
    """Raise ValueError unless one teacher and one source of texts are given."""
    if (args.teacher is None) == (args.encoder is None):
        raise ValueError("either --teacher or --encoder must be given, got "
                         f"{'both' if args.teacher else 'none'}")  # fmt: skip
    if (args.train is None) == (args.glue is None):
        raise ValueError("either --train FILE or --glue DIR --task NAME must be given, got "
                         f"{'both' if args.train else 'none'}")  # fmt: skip
    if (args.glue is None) != (args.task is None):
        raise ValueError(f"--task must be given with --glue, got {args.task}")
    for name in OF_TRAIN:
        if args.glue and getattr(args, name):
            raise ValueError(f"{as_flag(name)} must be given with --train, got --glue")
    if args.teacher_updates and not args.encoder:
        raise ValueError(
            f"--teacher-updates must be given with --encoder, got {args.teacher_updates}: a "
            "teacher is used as it is"
        )
    check_recipes(args)
    if args.flags and not args.flags[0].startswith("-"):
        raise ValueError(f"flags of fairseq-train must follow --, got {' '.join(args.flags)}")
    for flag in (word.partition("=")[0] for word in args.flags):
        if flag in RELIED_ON:
            ours = RELIED_ON[flag]
            cure = f"give {ours} before --" if ours else "leave it out"
            raise ValueError(f"{flag} must be absent after --, where distil has its own: {cure}")
    for name in ("lr", "minutes"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} must be > 0, got {value}")
    for name in ("min_retention", "max_unknown"):
        value = getattr(args, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{as_flag(name)} must be in [0, 1], got {value:g}")


def check_out(out: Path, force: bool) -> None:
    """Raise ValueError for a folder that cannot be written, or has files of others."""
    check_folder(str(out / LOCK.parent))
    if (out / LOCK).with_suffix(".lock").exists():
        return
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ValueError(
            f"--out must be new or empty, or of an earlier distillation, got {out}: --force "
            "writes into it"
        )
    if (out / PLAN).exists():  # its work folder was removed
        return
    for folder in (out / name for name in REMOVED):
        if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(
                f"--out must have no {folder.name} but that of an earlier distillation, got {out}: "
                f"--force would remove files in it; move {folder}, or name another --out"
            )


def check_apart(out: Path, args: argparse.Namespace, source: Source) -> None:
    """Raise ValueError if the student's files would take the place of those that are read."""
    flag = "--encoder" if args.encoder else "--teacher"
    read = [(flag, source.path), (flag, os.path.realpath(source.path))]
    read += [("--tokenizer", parse_spec(args.tokenizer)[1])] if args.tokenizer else []
    for flag, path in read:
        folder = Path(folder_with(path)).resolve()
        if folder == out or any(folder.is_relative_to(out / name) for name in REMOVED):
            raise ValueError(
                f"--out must be another folder than that of {flag}, got {args.out}: its files "
                "would be replaced by the student's; name another --out"
            )
