"""``python -m logged_values FILE FLAGS``: fairseq-train, noting what correlations are over."""

import sys

import fairseq_cli.train
import torch

from mixkd_plugin.criterions import metrics

if __name__ == "__main__":
    path = sys.argv.pop(1)
    noted = []
    log = metrics.log_correlations

    def note(values):
        noted.extend(values)
        log(values)

    metrics.log_correlations = note
    fairseq_cli.train.cli_main()
    torch.save(noted, path)
