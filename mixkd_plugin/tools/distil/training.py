"""The runs of `fairseq-train`: their flags, the trial, and what is kept of each."""

import argparse
import math
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...checkpoints.safe_load import read_checkpoint
from ..study.commands import PLUGIN, USUAL
from ..study.log import read_log
from .plan import POINTS, Plan, rate
from .recipes import RECIPES, Recipe
from .steps import Steps
from .teacher import Teacher

TRIAL_UPDATES, TRIAL_INTERVAL = 6, 2
SIZES = ("encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "max_positions")
SIZES += ("activation_fn", "pooler_activation_fn")


class Run(NamedTuple):
    recipe: str
    seed: int
    checkpoint: Path
    score: float  # the best on the dev set, in percent

    @property
    def title(self) -> str:
        return RECIPES[self.recipe].title


class Trainer:
    """Trains on the data folder ``data``, of the step ``encode``."""

    def __init__(self, steps: Steps, data: Path, plan: Plan, metric: str, extra: Sequence[str]):
        self.steps, self.data, self.plan, self.metric, self.extra = (
            steps,
            data,
            plan,
            metric,
            list(extra),
        )

    def flags(
        self, recipe: Recipe, sizes: Any, layers: int, start: Path, seed: int, folder: Path
    ) -> list:
        plan, rows = self.plan, recipe.rows
        model = [
            word for name in SIZES for word in (f"--{name.replace('_', '-')}", getattr(sizes, name))
        ]
        report = ["--report-pearson-and-spearman"] if self.metric == "pearson" else []
        of_data = (self.data / "train_flags.txt").read_text().split()
        device = ["--cpu"] if plan.cpu else []
        return [
            self.data, "--user-dir", PLUGIN, *USUAL, *of_data, *recipe.flags, *report,
            "--arch", "mixkd_roberta", "--encoder-layers", layers, *model,
            "--student-init-path", start, "--student-init-layers", plan.init_layers,
            "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--weight-decay", 0.01,
            "--clip-norm", 1, "--batch-size", max(1, plan.batch_size // rows),
            "--required-batch-size-multiple", 1, "--seed", seed, "--save-dir", folder,
            "--num-workers", 0, "--log-format", "json", *device,
            *([] if plan.precision == "fp32" else [f"--{plan.precision}"]),
        ]  # fmt: skip

    def schedule(self, updates: int, lr: float) -> list:
        every = math.ceil(updates / POINTS)
        return [
            "--lr", f"{lr:g}", "--lr-scheduler", "polynomial_decay",
            "--warmup-updates", max(1, round(0.06 * updates)),
            "--total-num-update", updates, "--max-update", updates, "--log-interval", 10,
            "--validate-interval", 1000000, "--validate-interval-updates", every,
            "--save-interval", 1000000, "--save-interval-updates", every,
            "--keep-interval-updates", 1, "--no-epoch-checkpoints",
            "--best-checkpoint-metric", self.metric, "--maximize-best-checkpoint-metric",
        ]  # fmt: skip

    def student_flags(self, name: str, teacher: Teacher, seed: int, folder: Path) -> list:
        recipe = RECIPES[name]
        words = self.flags(
            recipe, teacher.sizes, self.plan.layers, teacher.checkpoint, seed, folder
        )
        return words + ["--teacher-path", teacher.checkpoint] if recipe.taught else words

    def trial(self, teacher: Teacher, examples: int, after: Sequence[str]) -> float:
        """Seconds of an update, measured; on a GPU the batch is halved once if it does not fit."""
        name = self.plan.recipes[0]
        folder = self.steps.work / "trial"

        def run() -> float:
            words = self.student_flags(name, teacher, 1, folder)
            words += ["--lr", 1e-5, "--max-update", TRIAL_UPDATES, "--no-save", "--disable-validation",
                      "--log-interval", TRIAL_INTERVAL, *self.extra]  # fmt: skip
            log = self.steps.log("trial")
            return self.steps.train("trial", "Measuring a few updates", words, folder, TRIAL_UPDATES,
                                    after, lambda: seconds_of_update(log))  # fmt: skip

        try:
            return run()
        except ValueError as error:
            if "out of memory" not in str(error) or self.plan.why["batch_size"] == "as given":
                raise
        self.plan.values["batch_size"] //= 2
        self.plan.why["batch_size"] = "halved, to fit into the GPU's memory"
        return run()

    def student(
        self, name: str, teacher: Teacher, seed: int, examples: int, after: Iterable[str]
    ) -> Run:
        step = f"{name}-{seed}"
        folder, plan = self.steps.work / "runs" / step, self.plan
        words = self.student_flags(name, teacher, seed, folder) + self.schedule(
            plan.updates, plan.lr
        )
        if RECIPES[name].taught and plan.updates * plan.batch_size >= examples:
            words += ["--teacher-cache", self.steps.work / "teacher_logits"]
        text = f"Training {RECIPES[name].title}, seed {seed}, {plan.updates} updates"
        return self._run(step, text, words + self.extra, folder, plan.updates, name, seed, after)

    def teacher(self, encoder: Teacher, after: Iterable[str]) -> Run:
        """Fine-tune the encoder."""
        plan, folder = self.plan, self.steps.work / "runs" / "teacher"
        deep = encoder.sizes.encoder_layers
        words = self.flags(
            RECIPES["ft"], encoder.sizes, deep, encoder.checkpoint, plan.seed, folder
        )
        words += self.schedule(plan.teacher_updates, rate(encoder.sizes.encoder_embed_dim) / 2)
        text = f"Fine-tuning the encoder as the teacher, {plan.teacher_updates} updates"
        return self._run(
            "teacher", text, words, folder, plan.teacher_updates, "ft", plan.seed, after
        )

    def _run(self, step: str, text: str, words: list, folder: Path, updates: int, recipe: str,
             seed: int, after: Iterable[str]) -> Run:  # fmt: skip
        kept, log = folder / "student.pt", self.steps.log(step)

        def finish() -> float:
            curve = read_log(log.read_text(errors="replace")).curve
            scores = [point["valid"][self.metric] for point in curve if "valid" in point]
            if not scores:
                raise ValueError(f"fairseq-train validated nothing: {log}")
            strip(folder / "checkpoint_best.pt", kept)
            return max(scores)

        score = self.steps.train(step, text, words, folder, updates, after, finish)
        for file in folder.glob("checkpoint*.pt"):
            file.unlink()
        self.steps.say(f"  {self.metric} {score:.1f} on the dev set")
        return Run(recipe, seed, kept, score)


def seconds_of_update(log: Path) -> float:
    """From the last line of the log about updates."""
    found = re.findall(r'"ups": "?([\d.]+)', log.read_text(errors="replace"))
    if not found:
        raise ValueError(f"fairseq-train made no update: {log}")
    return 1 / max(0.005, float(found[-1]))


def strip(checkpoint: Path, out: Path) -> None:
    """A copy without the optimizer's state."""
    state = {**read_checkpoint(str(checkpoint)), "last_optimizer_state": None}
    unfinished = out.with_name(f"{out.name}.tmp")
    torch.save(state, unfinished)
    os.replace(unfinished, out)


def extra_flags(args: argparse.Namespace) -> list[str]:
    if args.flags and not args.flags[0].startswith("-"):
        raise ValueError(f"flags of fairseq-train must follow --, got {shlex.join(args.flags)}")
    return args.flags or []
