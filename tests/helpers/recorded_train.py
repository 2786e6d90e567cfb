"""`fairseq-train` that also writes the mixes it trains on: RECORD FLAGS...

One line of JSON for each batch: [epoch, [[id, partner id, lam], ...]].
"""

import collections
import json
import sys
import tempfile
from pathlib import Path

import fairseq_cli.train
import inprocess
import toy


def mixes(batch):
    """(id, partner's id, lam) of each mixed row; nothing of a batch without mixes."""
    if "partner" not in batch:
        return []
    ids, partners = batch["id"].tolist(), batch["partner"]["id"].tolist()
    rows = zip(ids * (len(partners) // len(ids)), partners, batch["lam"].tolist())
    return [list(row) for row in rows]


def watcher(record):
    """What to hand to ``inprocess.watched_updates``; ``record`` takes (epoch, mixes)."""

    def watch(trainer, batches):
        for batch in batches:
            record((trainer.epoch_begun, mixes(batch)))

    return watch


def batches_of(flags):
    """[(epoch, batch)] of a run in this process."""
    found = []

    def note(trainer, batches):
        found.extend((trainer.epoch_begun, batch) for batch in batches)

    inprocess.run_training(flags, note)
    return found


def recorded(flags):
    """[(epoch, mixes) of each batch] of a run in this process."""
    return [(epoch, mixes(batch)) for epoch, batch in batches_of(flags)]


def recorded_by_two(flags):
    """The same of two processes, and what each printed."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"mixes{rank}") for rank in range(2)]
        logs = toy.processes(2, "recorded_train", *([path, *flags] for path in paths))
        lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    return [tuple(json.loads(line)) for line in lines], logs


def rows_of(plan):
    """What :func:`by_epoch` gives for an epoch of this plan."""
    places = ((i, k) for i, row in enumerate(plan.partners) for k in range(len(row)))
    return sorted((i, int(plan.partners[i, k]), float(plan.lam[i, k])) for i, k in places)


def by_epoch(records):
    """{epoch: sorted [(id, partner id, lam)]}"""
    found = collections.defaultdict(list)
    for epoch, rows in records:
        found[epoch] += map(tuple, rows)
    return {epoch: sorted(rows) for epoch, rows in found.items()}


if __name__ == "__main__":
    path = sys.argv.pop(1)
    with open(path, "w", encoding="utf-8") as file:

        def write(line):
            file.write(json.dumps(line) + "\n")

        with inprocess.watched_updates(watcher(write)):
            fairseq_cli.train.cli_main()
