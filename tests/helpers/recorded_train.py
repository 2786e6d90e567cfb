"""`fairseq-train` that also writes the mixes it trains on: RECORD FLAGS...

One line of JSON for each batch: [epoch, [[id, partner id, lam], ...]].
"""

import json
import sys

import fairseq_cli.train
import inprocess


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


if __name__ == "__main__":
    path = sys.argv.pop(1)
    with open(path, "w", encoding="utf-8") as file:

        def write(line):
            file.write(json.dumps(line) + "\n")

        with inprocess.watched_updates(watcher(write)):
            fairseq_cli.train.cli_main()
