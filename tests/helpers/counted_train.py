"""`fairseq-train` that also writes what its processes exchange: RECORD FLAGS...

One line of JSON for each update: [[collective, elements], ...] sorted, whoever asked for it:
fairseq, this plugin, or torch's DistributedDataParallel from C++.
"""

import json
import sys

import fairseq_cli.train
import torch
from fairseq.trainer import Trainer


def collectives(profile):
    return sorted(  # when one of several that are under way begins, is chance
        [event.name, sum(torch.Size(shape).numel() for shape in event.input_shapes if shape)]
        for event in profile.events()
        if event.name.startswith("gloo:")
    )


if __name__ == "__main__":
    path = sys.argv.pop(1)
    step = Trainer.train_step
    with open(path, "w", encoding="utf-8") as file:

        def counted(trainer, samples, *args, **kwargs):
            with torch.profiler.profile(record_shapes=True) as profile:
                result = step(trainer, samples, *args, **kwargs)
            file.write(json.dumps(collectives(profile)) + "\n")
            return result

        Trainer.train_step = counted
        fairseq_cli.train.cli_main()
