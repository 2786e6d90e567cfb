"""The files of a study's tasks: GLUE's, or any folder with train.tsv and dev.tsv."""

import os
from collections.abc import Mapping
from typing import Any

from ...names import join_names
from ..results import GOLD
from ..texts.columns import find_columns
from ..texts.glue import TASKS
from ..texts.reading import Columns, stream_table


def files_of(task: str) -> tuple[str, ...]:
    return ("train.tsv", *(TASKS[task].valid if task in TASKS else ("dev.tsv",)))


def columns_of(folder: str, task: str) -> Columns:
    """Those of GLUE's task; columns of an own task have known names."""
    if task in TASKS:
        return TASKS[task].columns
    return find_columns(os.path.join(folder, "train.tsv"), None, None)


def source_flags(folder: str, task: str) -> list[str]:
    """The flags of `mixkd encode` for a task's folder."""
    if task in TASKS:
        return ["--glue", folder, "--task", task]
    train, dev = (os.path.join(folder, name) for name in files_of(task))
    columns = columns_of(folder, task)
    names = "--text", join_names(columns.texts), "--label", join_names(columns.labels)
    return ["--train", train, "--valid", dev, *names]


def check_tasks(study: Mapping[str, Any]) -> None:
    """Raise ValueError for tasks without their files, or one whose files have other columns.

    Of GLUE's tasks, files may be gone that the study has binarised.
    """
    files: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys([GOLD, *study["data"]]):
        for task in study["tasks"]:
            folder = os.path.join(study["glue"][name], task)
            made = task in TASKS and os.path.isdir(os.path.join(study["out"], "data", name, task))
            if "{fraction}" not in folder and not made:
                files[task, folder] = [os.path.join(folder, file) for file in files_of(task)]
    missing = [path for (task, _), paths in files.items() for path in paths
               if os.path.basename(task) != task or not os.path.isfile(path)]  # fmt: skip
    if missing:
        raise ValueError(
            f"tasks must be one of {', '.join(TASKS)}, or a folder in glue.gold with train.tsv and "
            f"dev.tsv, and have all files, got no {', '.join(missing)}"
        )
    for (task, folder), paths in files.items():
        try:
            columns = columns_of(folder, task)
            for path in paths:
                stream_table(path, lambda _, columns=columns: columns)
        except ValueError as error:
            cure = "" if task in TASKS else "; name them text and label"
            raise ValueError(f"tasks: {task}: {error}{cure}") from error
