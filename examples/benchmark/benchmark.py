"""Time a training step and an epoch of MixKD against fairseq's fine-tuning and against other tools.

Ratios are medians over rounds in which every arm has its turn; see README.md beside this file.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import arms
import fairseq
import report
import step_arms
import torch
from data import draw_lengths, write_data
from processes import be_quiet, in_own_process, resident
from rivals import PAD, RIVALS, Rivals
from timing import ratio, time_rounds

STEPS = {
    "finetune": arms.STEP_SPECS["finetune"].what,
    "loop": "fine-tuning in a bare loop",
    **{name: spec.what for name, spec in arms.STEP_SPECS.items()},
    **step_arms.PARTS,
}
EPOCHS = {**{name: spec.what for name, spec in arms.EPOCH_SPECS.items()}, **RIVALS}
EXTRA_RATIOS = {  # beside every arm's over fine-tuning
    "naive MixKD / full MixKD": (["naive"], ["mixkd"]),
    "hidden states / plain distillation": (["kd-hidden"], ["kd"]),
    "spliced texts / interpolated": (["mixkd-splice"], ["mixkd"]),
    "spliced texts / plain distillation": (["mixkd-splice"], ["kd"]),
    "naive MixKD / full MixKD and L_KD": (["naive"], ["mixkd-kd"]),
    "full MixKD step / sum of its parts": (["mixkd"], list(step_arms.PARTS)),
    **{f"full MixKD step, {what}": ([name], ["mixkd"]) for name, what in step_arms.PARTS.items()},
    "replayed MixKD / L_MLE and L_SM without a teacher": (["replay"], ["no-teacher"]),
    "full MixKD epoch / TextBrewer's": (["epoch-mixkd"], ["epoch-textbrewer"]),
    "full MixKD epoch / TextBrewer's, cached": (["epoch-mixkd"], ["epoch-textbrewer-cached"]),
    "full MixKD epoch / Model-Optimizer's": (["epoch-mixkd"], ["epoch-modelopt"]),
}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--shape", choices=list(arms.SHAPES), default="minilm", help="of teacher and student")
    add("--lengths", choices=["sst2", "rte"], default="sst2", help="whose lengths")
    add("--arms", metavar="A,B", help=f"default all: {','.join([*STEPS, *EPOCHS])}")
    add("--rounds", type=int, default=15, help="timed rounds of steps")
    add("--steps", type=int, default=4, help="steps of each arm in a round")
    add("--epoch-rounds", type=int, default=3, help="timed epochs of each arm")
    add("--examples", type=int, default=1024, help="examples of an epoch")
    add("--batch-size", type=int, default=32)
    add("--seed", type=int, default=1)
    add("--cuda", action="store_true", help="on a GPU (default: on the CPU)")
    add("--memory", action="store_true", help="also each arm's peak memory, in its own process")
    add("--compare", metavar="FILE", help="recorded results, to set the new ones against")
    add("--output", metavar="DIR", default="examples/benchmark/out")
    args = parser.parse_args(argv)
    known = [*STEPS, *EPOCHS]
    args.arms = args.arms.split(",") if args.arms else known
    unknown = [name for name in args.arms if name not in known]
    if unknown:
        parser.error(f"--arms must be of {', '.join(known)}, got {','.join(unknown)}")
    if args.examples % args.batch_size:
        parser.error(f"--examples {args.examples}: not a multiple of --batch-size")
    return args


def time_steps(names, settings, rounds: int, steps: int):
    """{arm: seconds a step, one a round}, and the share of padding in the batches."""
    built, batches = step_arms.build_step_arms(names, settings)

    def repeated(step):
        def turn(number):
            for k in range(steps):
                step((number * steps + k) % len(batches))

        return turn

    turns = {name: repeated(built[name]) for name in names}
    times = time_rounds(turns, rounds, settings.cuda, first=True)
    tokens = [batch["net_input"]["src_tokens"] for batch in batches]
    real = sum(int(t.ne(PAD).sum()) for t in tokens)
    padding = 1 - real / sum(t.numel() for t in tokens)
    return {name: [t / steps for t in times[name]] for name in names}, padding


def build_epochs(names, settings):
    """{arm: epoch()}."""
    rivals = Rivals(settings)
    return {
        name: rivals.build(name)
        if name in RIVALS
        else arms.FairseqArm(settings, arms.EPOCH_SPECS[name]).epoch
        for name in names
    }


def time_epochs(names, settings, rounds: int):
    """{arm: seconds an epoch, one a round}."""
    turns = {
        name: lambda _, epoch=epoch: epoch()
        for name, epoch in build_epochs(names, settings).items()
    }
    return time_rounds(turns, rounds, settings.cuda)


def measure_memory(name: str, settings) -> float:
    """Peak MB of an epoch of an arm, or of all its steps, above what the libraries hold."""
    if name in RIVALS:
        Rivals(settings).build(name)  # imports
    before = resident("VmRSS")
    if name in EPOCHS:
        build_epochs([name], settings)[name]()
    else:
        steps, batches = step_arms.build_step_arms([name], settings)
        for index in range(len(batches)):
            steps[name](index)
    peak = torch.cuda.max_memory_allocated() if settings.cuda else resident("VmHWM") - before
    return peak / 1e6


def summarise(names, whats, reference, times, megabytes):
    """{arm: what the table has of it}."""
    return {
        name: {
            "what": whats[name],
            "seconds": statistics.median(times[name]),
            "ratio": ratio(times, [name], [reference]),
            "megabytes": megabytes.get(name),
        }
        for name in names
    }


def main(argv=None):
    args = parse(argv)
    recorded = args.compare and report.read_recorded(args.compare, args.shape, args.lengths)
    be_quiet()
    begin = time.time()

    def say(text):
        print(f"[{time.time() - begin:4.0f} s] {text}", flush=True)

    stages = {}
    with tempfile.TemporaryDirectory() as work:
        shape = arms.SHAPES[args.shape]
        settings = arms.Settings(shape, work, args.batch_size, args.seed, args.cuda)
        lengths = draw_lengths(args.lengths, args.examples, args.seed)
        tokens = {"mean": float(lengths.mean()), "longest": int(lengths.max())}
        write_data(settings.data, lengths, shape.vocabulary, args.seed)
        arms.save_teacher(settings)
        times = {}
        for stage, whats, reference in (
            ("step", STEPS, "finetune"),
            ("epoch", EPOCHS, "epoch-finetune"),
        ):
            names = [name for name in whats if name in [*args.arms, reference]]
            if len(names) == 1 and reference not in args.arms:
                continue
            say(f"{len(names)} arms by the {stage}: {', '.join(names)}")
            if stage == "step":
                step_times, tokens["padding"] = time_steps(names, settings, args.rounds, args.steps)
                times.update(step_times)
            else:
                times.update(time_epochs(names, settings, args.epoch_rounds))
            megabytes = {}
            for name in names if args.memory else []:
                if name not in step_arms.PARTS:
                    say(f"peak memory of {name}")
                    megabytes[name] = in_own_process(measure_memory, name, settings)
            stages[stage] = summarise(names, whats, reference, times, megabytes)

    results = {
        "settings": {
            key: value
            for key, value in vars(args).items()
            if key not in ("arms", "compare", "output")
        },
        "machine": {
            "device": torch.cuda.get_device_name() if args.cuda else "CPU",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "fairseq": fairseq.__version__,
            "python": platform.python_version(),
        },
        "tokens": tokens,
        **stages,
        "ratios": {
            label: ratio(times, above, below)
            for label, (above, below) in EXTRA_RATIOS.items()
            if set(above + below) <= set(times)
        },
    }
    say("done")
    os.makedirs(args.output, exist_ok=True)
    path = os.path.join(args.output, f"{args.shape}-{args.lengths}")
    Path(f"{path}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    table = report.table(results)
    Path(f"{path}.md").write_text(table, encoding="utf-8")
    report.plot(results, f"{path}.png")
    print(f"\n{table}\n{path}.md, .json, .png")
    if recorded:
        print("\n" + report.comparison(results, recorded))


if __name__ == "__main__":
    sys.exit(main())
