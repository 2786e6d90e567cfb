"""`fairseq-train` on CPUs that also writes what every update took and sent: RECORD FLAGS...

RECORD becomes JSON: "seconds" of every update but one, of its backward pass ("backward") and of
legacy_ddp's all-reduce ("reduce"), and of that one the "collectives", [name, elements, dtype] each.
"""

import json
import sys
import time
from functools import partial

import fairseq_cli.train
from fairseq.trainer import Trainer
from torch.profiler import ProfilerActivity, profile

PROFILED = 2  # the update whose collectives are written; buffers and buckets are there by then


def collectives(profiler) -> list:
    """[name, elements, dtype] of everything that went through gloo, in order of time."""
    found = []
    for event in profiler.profiler.kineto_results.events():
        if event.name().startswith("gloo:"):
            shape, dtype = (event.shapes() or [[]])[0], (event.dtypes() or [""])[0]
            elements = 1
            for size in shape:
                elements *= size
            found.append((event.start_ns(), [event.name()[len("gloo:") :], elements, dtype]))
    return [entry for _, entry in sorted(found)]


def main() -> None:
    path = sys.argv.pop(1)
    record = {"seconds": [], "backward": [], "reduce": [], "collectives": []}
    train_step = Trainer.train_step

    def timed_step(trainer, samples, *args, **kwargs):
        spent = {"backward": 0.0, "reduce": 0.0}

        def timed(name, function):
            def call(*arguments):
                start = time.perf_counter()
                function(*arguments)
                spent[name] += time.perf_counter() - start

            return call

        optimizer = trainer.optimizer
        methods = type(optimizer)  # not the instance's, which an earlier update has wrapped
        optimizer.backward = timed("backward", partial(methods.backward, optimizer))
        optimizer.all_reduce_grads = timed("reduce", partial(methods.all_reduce_grads, optimizer))
        if trainer.get_num_updates() == PROFILED:
            with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
                result = train_step(trainer, samples, *args, **kwargs)
            record["collectives"] = collectives(profiler)
            return result
        start = time.perf_counter()
        result = train_step(trainer, samples, *args, **kwargs)
        record["seconds"].append(time.perf_counter() - start)
        record["backward"].append(spent["backward"])
        record["reduce"].append(spent["reduce"])
        return result

    Trainer.train_step = timed_step
    fairseq_cli.train.cli_main()
    with open(path, "w", encoding="utf-8") as file:
        json.dump(record, file)


if __name__ == "__main__":
    main()
