"""The settings of a distillation: given by flags, or chosen from data, teacher and device."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from torch.utils.benchmark import Timer

from ..output import atomic_write
from .data import Data
from .recipes import AUTO, best_recipes, chosen_recipes
from .source import check_sizes, half
from .teacher import Teacher

PERCENTILE = 99.5  # of tokens: longer examples are cut
SHORTEST = 16
ROWS = 32  # sequences in an update
WARMUP = 0.06  # share of the updates
MOST_POINTS = 10  # validations of a run
SCORING = 0.2  # of the time of the updates, at most, for all validations
FORWARD = 0.4  # of the time of an update, for a batch of a validation
LEAST_UPDATES = 400
LEAST_TIMED = 20  # updates, whatever --minutes says
CLEARLY = 0.7  # of float32's time
START_SECONDS = 12  # of a fairseq-train, before its first update


class Plan(NamedTuple):
    """Chosen values by their flags' names, and why."""

    values: dict[str, Any]
    why: dict[str, str]
    dev: int  # texts to score on
    narrower: bool  # than the teacher

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def recipes(self) -> list[str]:
        recipe, trimmed = self.values["recipe"], self.values["trim_vocabulary"]
        return chosen_recipes(recipe, trimmed, self.narrower, self.values["fine_tuned_too"])

    def points(self, updates: int) -> int:
        """Validations of a run of so many updates."""
        return max(1, min(MOST_POINTS, int(SCORING * updates / self.scored)))

    @property
    def scored(self) -> float:
        """The time of a validation, in updates."""
        return FORWARD * self.dev / self.values["batch_size"]

    def minutes(self, updates: int, seconds: float) -> float:
        """Of a run, with ``seconds`` for an update."""
        work = updates + self.points(updates) * self.scored
        return (START_SECONDS + work * seconds) / 60


def metrics_of(data: Data) -> tuple[str, ...]:
    """By which checkpoints and students can be chosen, of evaluation.QUALITY; the default first."""
    if data.classes is None:
        return ("pearson",)
    return ("micro_f1", "macro_f1") if data.multi_label else ("accuracy", "f1")


def make_plan(
    args: argparse.Namespace, data: Data, teacher: Teacher, tokens: np.ndarray, work: Path
) -> Plan:
    """All settings.

    Args:
        tokens: of the examples, before any is cut
        work: folder of the distillation
    """
    sizes = teacher.sizes
    check_sizes(args, sizes.layers, sizes.width, sizes.heads, sizes.longest)
    plan = Plan({}, {}, len(data.dev), args.width not in (None, sizes.width))

    def choose(name: str, value: Any, why: str) -> None:
        given = getattr(args, name)
        plan.values[name] = value if given is None else given
        plan.why[name] = why if given is None else "as given"

    deep, width = sizes.layers, sizes.width
    choose("layers", half(deep), "half of the teacher's")
    choose("width", width, "the teacher's")
    choose("init_layers", "spaced", "the teacher's layers to begin with, evenly spread")
    longest = sizes.longest
    enough = int(np.percentile(tokens, PERCENTILE, method="inverted_cdf"))
    choose("length", min(longest, max(SHORTEST, enough)),
           f"{PERCENTILE:g}% of the texts are no longer")  # fmt: skip
    cut = int((tokens > plan.length).sum())
    plan.why["length"] += f"; {cut} of {len(tokens)} are cut"
    choose("trim_vocabulary", False, "student and teacher have the same pieces of words")
    both = " and ".join(best_recipes(plan.trim_vocabulary, plan.narrower))
    choose("recipe", AUTO, f"{both}, the better on the dev set is kept")
    choose("metric", metrics_of(data)[0], "chooses checkpoint and recipe on the dev set")
    choose("fine_tuned_too", False, "no student without the teacher")
    choose("batch_size", ROWS, "sequences in an update")
    choose("lr", rate(plan.width), f"for a width of {plan.width}")
    examples, rows = len(data.train), plan.batch_size
    passes = min(20, max(3, 20 * (1000 / examples) ** 0.5))  # many of few texts: mixes differ
    updates = max(LEAST_UPDATES, round(passes * examples / rows))
    choose("updates", updates, f"{updates * rows / examples:.1f} sequences for each text")
    choose("seeds", 1, "runs of each recipe")
    choose("seed", 1, "the first seed")
    gpu = torch.cuda.is_available() and not args.cpu
    choose("precision", args.precision or kept_precision(gpu, work), f"on {device_name(gpu)}")
    plan.values.update(cpu=not gpu, onnx=bool(args.onnx), int8=bool(args.int8))
    if args.encoder:
        choose("teacher_updates", max(200, 3 * examples // rows), "3 passes, at least 200")
    return plan


def rate(width: int) -> float:
    """The student's learning rate: 2e-4 for MiniLM's width, 5e-5 for BERT's."""
    return float(f"{min(5e-4, max(2e-5, 2e-4 * (384 / width) ** 2)):.1e}")


def kept_precision(gpu: bool, work: Path) -> str:
    """The fastest one; on a CPU measured at the first start alone: the same command continues."""
    if gpu:
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    file = work / "precision.txt"
    if not file.exists():
        atomic_write(file, fastest_precision())
    return file.read_text()


def fastest_precision() -> str:
    """Of a CPU: bf16 if its products of matrices are clearly faster (AMX, or AMD from Zen 4 on).

    With AVX-512 alone it can be slower.
    """
    seconds = {dtype: seconds_of_product(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return "bf16" if seconds[torch.bfloat16] < CLEARLY * seconds[torch.float32] else "fp32"


def seconds_of_product(dtype: torch.dtype) -> float:
    """Of a product as in a feed-forward layer, measured."""
    matrices = {"x": torch.ones(1024, 384, dtype=dtype), "y": torch.ones(384, 1536, dtype=dtype)}
    timer = Timer("x @ y", globals=matrices, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=0.1).median


def device_name(gpu: bool) -> str:
    return torch.cuda.get_device_name() if gpu else f"the CPU, {torch.get_num_threads()} threads"


def fit_budget(plan: Plan, args: argparse.Namespace, teacher: Teacher, seconds: float) -> float:
    """Expected minutes of all training; fewer updates of the students for --minutes.

    Args:
        seconds: of an update, of a student or, with --encoder, of the teacher
    """
    runs, tuning = len(plan.recipes) * plan.seeds, 0.0
    if args.encoder:
        tuning = plan.minutes(plan.teacher_updates, seconds)
        share = plan.layers / teacher.sizes.layers * (plan.width / teacher.sizes.width) ** 2
        seconds *= share + 1 / 3  # the teacher's forward pass
    if args.minutes is not None:
        least = runs * plan.minutes(LEAST_TIMED, seconds)
        if args.minutes < least:
            raise ValueError(
                f"--minutes must be at least {least:.1f} for {runs} runs, got {args.minutes:g}"
            )
        while runs * plan.minutes(plan.updates, seconds) > args.minutes:
            plan.values["updates"] = max(LEAST_TIMED, int(0.98 * plan.updates))
            plan.why["updates"] = f"what {args.minutes:g} minutes have room for"
    return tuning + runs * plan.minutes(plan.updates, seconds)


# --- as text ---


def show_plan(
    plan: Plan, data: Data, teacher: Teacher, words: int, notes: Sequence[str], minutes: float
) -> str:
    """``words``: in the student's vocabulary."""
    sizes = teacher.sizes
    whole = sizes.parameters(sizes.layers, sizes.words, sizes.width)
    share = sizes.parameters(plan.layers, words, plan.width) / whole
    vocabulary = f"its vocabulary has {words} of the teacher's {sizes.words} symbols"
    rows = [
        ("teacher", f"{sizes.layers} layers of {sizes.width}", teacher.path),
        ("texts", f"{len(data.train)} to train on, {len(data.dev)} to score on",
         f"{data.unlabelled_count} without a label"
         if data.unlabelled_count else "all have labels"),
        ("size", f"{share:.0%} of the teacher's parameters", vocabulary),
    ]  # fmt: skip
    rows += [(name.replace("_", " "), plan.values[name], why) for name, why in plan.why.items()]
    rows.append(("expected", f"{minutes:.1f} minutes of training", "measured on a few updates"))
    table = tabulate(rows, tablefmt="plain", disable_numparse=True)
    return "\n".join(["", *notes, "", table, ""])
