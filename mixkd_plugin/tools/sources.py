"""Where examples come from: the files of a GLUE task, or files of one's own."""

import os
from typing import Dict, NamedTuple, Optional, Sequence

from .examples import Targets, check_classes
from .glue import TASKS
from .reading import ALLOWED, FORMATS, Columns, format_of


class Source(NamedTuple):
    """Files and what is in them."""

    files: Dict[str, str]  # of the splits train, valid, valid1, ...
    columns: Columns
    targets: Optional[Targets]  # None: the classes are those of the training file
    kind: Optional[str] = None  # of FORMATS; None: by the suffix of each file
    flags: str = ""  # of fairseq-train, for metrics
    task: Optional[str] = None  # of GLUE

    def title(self, split: str) -> str:
        """What a split is called in what is printed."""
        return f"{self.task} {split}" if self.task else f"{split} ({self.files[split]})"


def glue_source(folder: str, task_name: str, labels: Optional[Sequence[str]] = None) -> Source:
    """A GLUE task; ``labels`` are its classes in another order of their indices.

    Raises:
        ValueError: for an unknown task or classes that are not its own.
    """
    if task_name not in TASKS:
        raise ValueError(f"--task {task_name!r}; allowed: {', '.join(TASKS)}")
    task = TASKS[task_name]
    targets = task.targets
    if labels is not None:
        if targets.classes is None:
            raise ValueError(f"--labels {','.join(labels)}: {task_name} has scores, not classes")
        if sorted(labels) != sorted(targets.classes):
            raise ValueError(
                f"--labels {','.join(labels)}: {task_name} has the classes "
                f"{','.join(targets.classes)}, allowed are these in any order"
            )
        targets = Targets(tuple(labels))
    files = _splits(*(os.path.join(folder, name) for name in ("train.tsv", *task.valid)))
    return Source(files, task.columns, targets, "tsv", task.flags, task_name)


def file_source(
    train: str,
    valid: Sequence[str],
    texts: Sequence[str],
    labels: Sequence[str],
    classes: Optional[Sequence[str]] = None,
    regression: bool = False,
    header: bool = True,
    kind: Optional[str] = None,
) -> Source:
    """Files of one's own, with the columns ``texts`` (one or two) and ``labels``.

    ``labels`` is one column of classes, numbered in the order of ``classes``, or with
    ``regression`` the columns of its targets. Without ``header`` columns are positions from 0, as
    text.

    Raises:
        ValueError: naming the flag of `encode` whose value is not allowed.
    """
    if not 1 <= len(texts) <= 2:
        raise ValueError(f"--text {','.join(texts)}; allowed: one column, or the two of a pair")
    if len(labels) > 1 and not regression:
        raise ValueError(
            f"--label {','.join(labels)}; allowed: one column, or with --regression several"
        )
    if kind is not None and kind not in FORMATS:
        raise ValueError(f"--format {kind!r}; allowed: {ALLOWED}")
    files = _splits(train, *valid)
    if header:
        columns = Columns(tuple(texts), tuple(labels))
    else:
        for path in files.values():
            if (kind or format_of(path)) == "jsonl":
                raise ValueError(f"--no-header: {path} is JSON lines, whose columns have names")
        columns = Columns(_positions("--text", texts), _positions("--label", labels))
    if regression:
        if classes is not None:
            raise ValueError(f"--labels {','.join(classes)}: not with --regression, numbers alone")
        targets = Targets(None)
    else:
        targets = Targets(check_classes(classes, "--labels")) if classes is not None else None
    return Source(files, columns, targets, kind)


def _splits(train: str, *valid: str) -> Dict[str, str]:
    """As fairseq calls them."""
    names = ["valid", *(f"valid{i}" for i in range(1, len(valid)))]
    return {"train": train, **dict(zip(names, valid))}


def _positions(flag: str, columns: Sequence[str]):
    for column in columns:
        if not (column.isascii() and column.isdigit()):
            raise ValueError(f"{flag} {column!r}; allowed with --no-header: positions from 0")
    return tuple(map(int, columns))
