"""What the frozen teacher costs in memory: training with it, without it, and with kept answers.

Each arm of the benchmark has two processes of its own: one counts the bytes of tensors that are
alive, exactly; one without the counting says how much memory the process really had.
See README.md beside this file.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Dict, NamedTuple

import arms
import torch
from data import draw_lengths, write_data
from live_bytes import LiveBytes
from processes import be_quiet, forget_peak, in_own_process, resident

from mixkd_plugin.mixup import Mix

WITHOUT = "no-teacher"
ARMS = [WITHOUT, "mixkd-float32-teacher", "mixkd", "replay"]


class Memory(NamedTuple):
    """Bytes; resident ones are those of the process above what its imports hold."""

    held: int  # between steps
    peak: int  # within steps
    weights: int  # of the teacher: parameters x bytes of each
    activations: int  # of the teacher: the most that one forward of it needs beside its weights
    start_resident: int  # the most until the second step begins
    peak_resident: int  # the most within later steps


def measure(name: str, settings: arms.Settings) -> Memory:
    counted = in_own_process(_count, name, settings)
    return Memory(*counted, *in_own_process(_watch, name, settings))


def _start(name: str, settings: arms.Settings) -> arms.FairseqArm:
    """The arm after its first step, which allocates the optimizer's state."""
    arm = arms.FairseqArm(settings, arms.STEP_SPECS[name])
    arm.load_steps()
    arm.step(0)
    return arm


def _count(name: str, settings: arms.Settings):
    """The first four of :class:`Memory`."""
    with LiveBytes() as live:
        arm = _start(name, settings)
        live.mark("started")
        for index in range(len(arm.batches)):
            arm.step(index)
        live.mark("steps")
        outputs = arm.trainer.task.teacher
        teacher = None if outputs is None else outputs.ensemble
        if teacher is not None:
            for sample in arm.batches:
                mix = Mix(sample["partner"]["net_input"]["src_tokens"], sample["lam"], False)
                teacher.logits(sample["net_input"]["src_tokens"], mix)
        live.mark("forwards")
    weights = 0
    if teacher is not None:
        parameters = [p for model in teacher._models for p in model.parameters()]
        weights = sum(p.numel() * p.element_size() for p in parameters)
    steps, forwards = live.at["steps"], live.at["forwards"]
    return steps.held, steps.peak, weights, forwards.peak - steps.held


def _watch(name: str, settings: arms.Settings):
    """The last two of :class:`Memory`."""
    before = resident("VmRSS")
    arm = _start(name, settings)
    start = resident("VmHWM")
    forget_peak()
    for index in range(len(arm.batches)):
        arm.step(index)
    return start - before, resident("VmHWM") - before


def table(memory: Dict[str, Memory]) -> str:
    """Markdown, in MB; what an arm has more than the one without a teacher, beside what is due."""
    lines = [
        "| arm | held between steps | more | teacher's weights | peak in a step | more "
        "| weights + one forward | resident, start | resident, steps |",
        "|" + "---|" * 9,
    ]
    base = memory[WITHOUT]
    for name, m in memory.items():
        more, peak_more = m.held - base.held, m.peak - base.peak
        cells = [m.held, more, m.weights, m.peak, peak_more, m.weights + m.activations]
        cells += [m.start_resident, m.peak_resident]
        lines.append(f"| `{name}` | " + " | ".join(f"{cell / 1e6:.1f}" for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--shape", choices=list(arms.SHAPES), default="minilm", help="of teacher and student")
    add("--lengths", choices=["sst2", "rte"], default="sst2", help="whose lengths")
    add("--arms", metavar="A,B", default=",".join(ARMS), help="default %(default)s")
    add("--steps", type=int, default=4)
    add("--batch-size", type=int, default=32)
    add("--output", metavar="DIR", default="examples/benchmark/out")
    args = parser.parse_args()
    names = [WITHOUT] + [name for name in args.arms.split(",") if name != WITHOUT]
    unknown = [name for name in names if name not in arms.STEP_SPECS]
    if unknown:
        parser.error(f"--arms must be of {', '.join(arms.STEP_SPECS)}, got {','.join(unknown)}")
    be_quiet()
    with tempfile.TemporaryDirectory() as work:
        shape = arms.SHAPES[args.shape]
        settings = arms.Settings(shape, work, args.batch_size, seed=1, cuda=False)
        lengths = draw_lengths(args.lengths, args.steps * args.batch_size, settings.seed)
        write_data(settings.data, lengths, shape.vocabulary, settings.seed)
        in_own_process(arms.save_teacher, settings)
        if "replay" in names:
            in_own_process(arms.fill_cache, settings, arms.STEP_SPECS["replay"])
        memory = {}
        for name in names:
            print(name, flush=True)
            memory[name] = measure(name, settings)
    os.makedirs(args.output, exist_ok=True)
    path = os.path.join(args.output, f"memory-{args.shape}-{args.lengths}.json")
    results = {
        "settings": {key: value for key, value in vars(args).items() if key != "output"},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "bytes": {name: m._asdict() for name, m in memory.items()},
    }
    Path(path).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(memory)}\n\nMB. {path}")


if __name__ == "__main__":
    sys.exit(main())
