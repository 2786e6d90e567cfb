"""The sources of examples: the files of a GLUE task, or your own files."""

import argparse
import os
from typing import Dict, List, NamedTuple, Optional, Sequence

from ...names import HINT, as_flag, join_names, split_names
from ..texts.examples import Targets, check_classes
from ..texts.files import ALLOWED, FORMATS
from ..texts.glue import TASKS
from ..texts.reading import Columns

SEPARATOR = "|"  # of several classes in a column


class Source(NamedTuple):
    """Files and their content."""

    files: Dict[str, str]  # by split: train, valid, valid1, ...
    columns: Columns
    targets: Optional[Targets]  # None: the classes are those of the training file
    kind: Optional[str] = None  # of FORMATS; None: by the suffix of each file
    flags: str = ""  # of fairseq-train, for metrics
    task: Optional[str] = None  # of GLUE
    named: Sequence[str] = ()  # its classes, as --labels has them

    def flag(self, split: str) -> str:
        """The flag that names a split's file."""
        return "--glue" if self.task else f"--{split.rstrip('0123456789')}"

    def title(self, split: str) -> str:
        """Name of a split in printed lines."""
        return f"{self.task} {split}" if self.task else f"{split} ({self.files[split]})"


def glue_source(folder: str, task_name: str, labels: Optional[Sequence[str]] = None) -> Source:
    """A GLUE task; ``labels`` are its classes in another order of their indices.

    Raises:
        ValueError: for an unknown task or classes that are not its own.
    """
    if task_name not in TASKS:
        raise ValueError(f"--task must be one of {', '.join(TASKS)}, got {task_name!r}")
    task = TASKS[task_name]
    targets = task.targets
    if labels is not None:
        if targets.classes is None:
            raise ValueError(
                f"--labels must be absent for the scores of {task_name}, got {join_names(labels)}"
            )
        if sorted(labels) != sorted(targets.classes):
            raise ValueError(
                f"--labels must be the classes of {task_name} in any order, "
                f"{join_names(targets.classes)}, got {join_names(labels)}"
            )
        targets = targets._replace(classes=tuple(labels))
    files = _splits(*(os.path.join(folder, name) for name in ("train.tsv", *task.valid)))
    return Source(files, task.columns, targets, "tsv", task.flags, task_name)


def file_source(args: argparse.Namespace) -> Source:
    """Files of one's own.

    --label is one column of classes, or with --regression the columns of the targets. With
    --multi-label it is one column of any number of classes with --label-separator between
    (default: |; in JSON also a list), or a column of 0 and 1 for each class, which --labels may
    rename.

    Raises:
        ValueError: for a wrong value, with the flag.
    """
    texts, labels, classes = split_names(args.text), split_names(args.label), _classes(args)
    regression, multi_label, separator = args.regression, args.multi_label, args.label_separator
    if not 1 <= len(texts) <= 2:
        raise ValueError(
            f"--text must be one column, or the two of a pair, got {join_names(texts)}: {HINT}"
        )
    if len(labels) > 1 and not (regression or multi_label):
        raise ValueError(
            "--label must be one column, or with --regression or --multi-label several, got "
            f"{join_names(labels)}: {HINT}"
        )
    if multi_label and regression:
        raise ValueError("--multi-label must be given without --regression, got both")
    if separator is not None and not (separator.strip() and multi_label and len(labels) == 1):
        raise ValueError(
            "--label-separator must be a visible text, for --multi-label with one column of "
            f"labels, got {separator!r}"
        )
    if args.format is not None and args.format not in FORMATS:
        raise ValueError(f"--format must be one of {ALLOWED}, got {args.format!r}")
    # one file, whose name may have a comma, or several
    valid = [args.valid] if os.path.isfile(args.valid) else split_names(args.valid)
    files = _splits(args.train, *valid)
    if multi_label and len(labels) == 1:
        separator = separator or SEPARATOR
    columns = Columns(tuple(texts), tuple(labels), separator)
    if args.no_header:
        for path in files.values():
            if (args.format or path).endswith("jsonl"):
                raise ValueError(f"--no-header must be absent for JSON lines, got {path}")
        places = _positions("--text", texts), _positions("--label", labels)
        columns = Columns(*places, separator)
    if regression and classes is not None:
        raise ValueError(f"--labels must be absent with --regression, got {join_names(classes)}")
    if multi_label and len(labels) > 1 and classes is None:
        classes = labels
    names = None if classes is None else check_classes(classes, "--labels")
    if multi_label and len(labels) > 1 and len(names) != len(labels):
        raise ValueError(
            f"--labels must name the {len(labels)} columns of --label, got {join_names(names)}"
        )
    split = [name for name in names or () if separator and separator in name]
    if split:
        raise ValueError(
            f"--label-separator must not be in a class, got {separator} and {split[0]}"
        )
    targets = None
    if regression or names is not None:
        targets = Targets(names, multi_label=multi_label, separator=separator)
    return Source(files, columns, targets, args.format, named=classes or ())


def _splits(train: str, *valid: str) -> Dict[str, str]:
    """Files by fairseq's names of the splits."""
    names = ["valid", *(f"valid{i}" for i in range(1, len(valid)))]
    return {"train": train, **dict(zip(names, valid))}


def _positions(flag: str, columns: Sequence[str]):
    for column in columns:
        if not (column.isascii() and column.isdigit()):
            raise ValueError(f"{flag} must be a position from 0 with --no-header, got {column!r}")
    return tuple(map(int, columns))


# flags of each of the two sources: required, optional
SOURCES = {
    "glue": (("task",), ()),
    "train": (
        ("valid", "text", "label"),
        ("format", "no_header", "regression", "multi_label", "label_separator"),
    ),
}


def source_of(args: argparse.Namespace) -> Source:
    """The source given on the command line.

    Raises:
        ValueError: unless it is exactly one, with its required flags and none of the other.
    """
    chosen = [name for name in SOURCES if vars(args)[name] is not None]
    if len(chosen) != 1:
        raise ValueError(
            "the source must be either --glue DIR --task NAME or --train FILE --valid FILE --text "
            f"COLUMN --label COLUMN, got {' and '.join(f'--{name}' for name in chosen) or 'none'}"
        )
    (chosen,) = chosen
    for name, (needed, others) in SOURCES.items():
        for flag in (*needed, *others):
            given = vars(args)[flag] not in (None, False)
            if name != chosen and given:
                raise ValueError(f"{as_flag(flag)} must be given with --{name}, got --{chosen}")
            if name == chosen and flag in needed and not given:
                raise ValueError(f"--{flag} must be given with --{chosen}, got none")
    if chosen == "glue":
        return glue_source(args.glue, args.task, _classes(args))
    return file_source(args)


def _classes(args: argparse.Namespace) -> Optional[List[str]]:
    return None if args.labels is None else split_names(args.labels)
