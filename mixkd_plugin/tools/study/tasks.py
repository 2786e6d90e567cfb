"""The files of a study's tasks: GLUE's, or any folder with train.tsv and dev.tsv."""

import os
from collections.abc import Mapping
from typing import Any

from ..results import GOLD
from ..texts.columns import find_columns
from ..texts.glue import TASKS
from ..texts.names import join_names


def files_of(task: str) -> tuple[str, ...]:
    return ("train.tsv", *(TASKS[task].valid if task in TASKS else ("dev.tsv",)))


def source_flags(folder: str, task: str) -> list[str]:
    """The flags of `mixkd encode` for a task's folder; columns of an own task have known names."""
    if task in TASKS:
        return ["--glue", folder, "--task", task]
    train, dev = (os.path.join(folder, name) for name in files_of(task))
    columns = find_columns(train, None, None)
    names = "--text", join_names(columns.texts), "--label", join_names(columns.labels)
    return ["--train", train, "--valid", dev, *names]


def check_tasks(study: Mapping[str, Any]) -> None:
    """Raise ValueError for a task that is neither GLUE's nor a folder of examples."""
    for task in study["tasks"]:
        folder = os.path.join(study["glue"][GOLD], task)
        there = all(os.path.isfile(os.path.join(folder, name)) for name in files_of(task))
        if task not in TASKS and (not there or os.path.basename(task) != task):
            raise ValueError(
                f"tasks must be one of {', '.join(TASKS)}, or a folder in glue.gold with "
                f"{' and '.join(files_of(task))}, got {task}"
            )
        try:
            source_flags(folder, task)
        except ValueError as error:
            raise ValueError(f"tasks: {task}: {error}; name them text and label") from error
