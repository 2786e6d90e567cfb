"""The runs of `fairseq-train`: their flags, the trial, and what is kept of each."""

import argparse
import math
import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ...checkpoints.hf_weights import PREFIX
from ...checkpoints.safe_load import read_checkpoint
from ...fingerprints import files_of_package
from ..output import atomic_file
from ..study.commands import PLUGIN, USUAL
from ..study.log import read_log
from .plan import WARMUP, Plan, rate
from .recipes import RECIPES, Recipe
from .steps import Steps
from .teacher import Teacher

TRIAL_UPDATES, TRIAL_INTERVAL = 6, 2
KEPT = "best.pt"  # of a run
REPORTS = {"pearson": "--report-pearson-and-spearman", "f1": "--report-acc-and-f1"}


class Run(NamedTuple):
    recipe: str
    seed: int
    checkpoint: Path
    score: float  # the best on the dev set, in percent

    @property
    def title(self) -> str:
        return RECIPES[self.recipe].title


class Trainer(NamedTuple):
    """
    data, student_data: data folders of teacher and student, who may have a vocabulary of its own
    extra: the user's flags for every student
    """

    steps: Steps
    data: Path
    student_data: Path
    plan: Plan
    extra: list[str]

    @property
    def code(self) -> list[Path]:
        """The files of the package in the user's --user-dir."""
        return sum((files_of_package(Path(folder)) for folder in user_dir(self.extra)[1:]), [])

    def flags(self, recipe: Recipe, data: Path, model: list, seed: int, folder: Path) -> list:
        plan = self.plan
        report = [REPORTS[plan.metric]] if plan.metric in REPORTS else []
        of_data = (data / "train_flags.txt").read_text().split()
        device = ["--cpu"] if plan.cpu else []
        return [
            data, "--user-dir", PLUGIN, *USUAL, *of_data, *recipe.flags, *report, *model,
            "--optimizer", "torch_adamw", "--adam-betas", "(0.9, 0.98)", "--weight-decay", 0.01,
            "--clip-norm", 1, "--batch-size", max(1, plan.batch_size // recipe.rows),
            "--required-batch-size-multiple", 1, "--seed", seed, "--save-dir", folder,
            "--num-workers", 0, "--log-format", "json", "--distributed-world-size", 1, *device,
            *([] if plan.precision == "fp32" else [f"--{plan.precision}"]),
        ]  # fmt: skip

    def schedule(self, updates: int, lr: float) -> list:
        every = math.ceil(updates / self.plan.points(updates))
        return [
            "--lr", f"{lr:g}", "--lr-scheduler", "polynomial_decay",
            "--warmup-updates", max(1, round(WARMUP * updates)),
            "--total-num-update", updates, "--max-update", updates, "--log-interval", 10,
            "--validate-interval", 1000000, "--validate-interval-updates", every,
            "--save-interval", 1000000, "--save-interval-updates", every,
            "--keep-interval-updates", 1, "--no-epoch-checkpoints",
            "--best-checkpoint-metric", self.plan.metric, "--maximize-best-checkpoint-metric",
        ]  # fmt: skip

    def student_flags(self, name: str, teacher: Teacher, seed: int, folder: Path) -> list:
        recipe, plan = RECIPES[name], self.plan
        model = teacher.student(plan.layers, plan.init_layers)
        model += teacher.sizes.narrowed(plan.width)
        words = self.flags(recipe, self.student_data, model, seed, folder)
        if recipe.taught:
            words += ["--teacher-path", teacher.path]
            words += [f"--teacher-labels={teacher.labels}"] if teacher.labels else []
            words += ["--teacher-data", self.data] if self.student_data != self.data else []
        return words

    def trial(self, teacher: Teacher, tuned: bool) -> float:
        """Seconds of an update (``tuned``: of an encoder); a batch too large is halved once."""
        folder, log = self.steps.work / "trial", self.steps.log("trial")

        def run() -> float:
            flags = (
                self.tuning_flags if tuned else partial(self.student_flags, self.plan.recipes[0])
            )
            words = flags(teacher, 1, folder) + [
                "--lr", 1e-5, "--max-update", TRIAL_UPDATES, "--log-interval", TRIAL_INTERVAL,
                "--no-save", "--disable-validation", *([] if tuned else self.extra),
            ]  # fmt: skip
            text, finish = "Measuring a few updates", partial(seconds_of_update, log)
            return self.steps.train(
                "trial", text, words, folder, TRIAL_UPDATES, teacher.made_by, finish,
                () if tuned else self.code,
            )  # fmt: skip

        try:
            return run()
        except ValueError as error:
            if "out of memory" not in str(error) or self.plan.why["batch_size"] == "as given":
                raise
        self.plan.values["batch_size"] //= 2
        self.plan.why["batch_size"] = "halved, to fit into the GPU's memory"
        if self.plan.why["updates"] != "as given":
            self.plan.why["updates"] += ", before the batch was halved"
        return run()

    def student(self, name: str, teacher: Teacher, seed: int, examples: int) -> Run:
        step, plan = f"{name}-{seed}", self.plan
        words = self.student_flags(name, teacher, seed, self.folder(step))
        words += self.schedule(plan.updates, plan.lr)
        if RECIPES[name].taught and plan.updates * plan.batch_size >= examples:  # else one by one
            words += ["--teacher-cache", self.steps.work / "teacher_logits"]
        text = f"Training {RECIPES[name].title}, seed {seed}, {plan.updates} updates"
        words += self.extra
        score = self._run(step, text, words, plan.updates, teacher.made_by, self.code)
        return Run(name, seed, self.folder(step) / KEPT, score)

    def teacher(self, encoder: Teacher, metric: str) -> tuple[Teacher, float]:
        """The encoder, fine-tuned, and its best score of a metric on the dev set, in percent."""
        step, updates = "teacher", self.plan.teacher_updates
        folder = self.folder(step)
        words = self.tuning_flags(encoder, self.plan.seed, folder)
        words += self.schedule(updates, rate(encoder.sizes.width) / 2)
        text = f"Fine-tuning the encoder as the teacher, {updates} updates"
        self._run(step, text, words, updates, encoder.made_by)
        score = best_score(self.steps.log(step), metric)
        path, after = str(folder / KEPT), (*encoder.made_by, step)
        if encoder.folder is not None:
            out = self.steps.work / "teacher"
            words = ["export", path, "--to", "hf", "--data", self.data, "--out", out]
            self.steps.tool("teacher_export", "Exporting the teacher", words, out, after)
            path, after = f"{PREFIX}{out}", (*after, "teacher_export")
        return encoder._replace(path=path, made_by=after), score

    def tuning_flags(self, encoder: Teacher, seed: int, folder: Path) -> list:
        model = encoder.student(encoder.sizes.layers, "first")
        return self.flags(RECIPES["ft"], self.data, model, seed, folder)

    def folder(self, step: str) -> Path:
        return self.steps.work / "runs" / step

    def _run(
        self, step: str, text: str, words: list, updates: int, after: Iterable[str],
        inputs: Iterable[Path] = (),
    ) -> float:  # fmt: skip
        """The best score on the dev set, in percent; its checkpoint is kept."""
        folder, log = self.folder(step), self.steps.log(step)
        best, kept = folder / "checkpoint_best.pt", folder / KEPT
        self.steps.note("fairseq-train", *words)
        self.steps.note("cp", best, kept)

        def finish() -> float:
            score = best_score(log, self.plan.metric)
            strip(best, kept)
            return score

        score = self.steps.train(step, text, words, folder, updates, after, finish, inputs)
        for file in folder.glob("checkpoint*.pt"):
            file.unlink()
        self.steps.say(f"  {self.plan.metric} {score:.1f} on the dev set")
        return score


def user_dir(flags: list[str]) -> list[str]:
    """The flag --user-dir of flags of `fairseq-train`, for any working directory."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--user-dir", nargs="?")
    folder = parser.parse_known_args(flags)[0].user_dir
    return [] if folder is None else ["--user-dir", os.path.abspath(folder)]


def best_score(log: Path, metric: str) -> float:
    """Of all validations; a correlation of equal predictions is nan and does not count."""
    curve = read_log(log.read_text(errors="replace")).curve
    scores = [point["valid"][metric] for point in curve if "valid" in point]
    scores = [score for score in scores if not math.isnan(score)]
    if not scores:
        raise ValueError(f"fairseq-train must validate with a {metric}, got none: {log}")
    return max(scores)


def seconds_of_update(log: Path) -> float:
    """From the last line of the log about updates."""
    found = re.findall(r'"ups": "?([\d.]+)', log.read_text(errors="replace"))
    if not found:
        raise ValueError(f"fairseq-train made no update: {log}")
    return 1 / max(0.005, float(found[-1]))


def strip(checkpoint: Path, out: Path) -> None:
    """A copy without the optimizer's state."""
    state = {**read_checkpoint(str(checkpoint)), "last_optimizer_state": None}
    with atomic_file(out) as unfinished:
        torch.save(state, unfinished)
