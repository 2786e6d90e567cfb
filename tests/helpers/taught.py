"""Runs with a teacher, what it was asked, the files of its cache, and one of other data."""

import inprocess
import toy

BASE = ["--kd-weight", 1, "--max-epoch", 3, "--mixup-ratio", 2, "--batch-size", 40]


def run(data, folder, teacher, *flags, watcher=lambda *_: None):
    flags = toy.train_flags(data, folder, *BASE, "--teacher-path", teacher, *flags)
    return inprocess.run_training(flags, watcher)


def totals(asked):
    return tuple(sum(column) for column in zip(*asked))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def of_data(path, source, data):
    """A checkpoint that says it was trained on this folder, and nothing of what was there."""
    with toy.edited(source, path) as state:
        state["cfg"]["task"]["data"] = str(data)
        state["task_state"] = {}
    return path
