"""What a distillation leaves: the student in its formats, its model card, and the report."""

import json
import os
import shutil
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate
from torch.nn.functional import one_hot

from ...checkpoints.hf_weights import SETTINGS
from ...scores import label_counts, name_of_f1, predict
from ..compare.compare import plot_quality
from ..evaluation import QUALITY, evaluation
from ..output import atomic_file, atomic_write
from ..serving_report.serving_report import FAIRSEQ
from .card import model_card
from .data import Data
from .plan import Plan, metrics_of
from .recipes import RECIPES
from .steps import Steps, has_libraries
from .teacher import Teacher
from .training import Run

TEACHER = "teacher"  # its name in the tables of `serving_report`
ONNX = ("onnx", "onnxruntime", "onnxscript")
OURS = ".distil"  # in onnx/: the user's own folder has none, and stays
ROUNDS = 3  # of timing, each of all models
COPIED = ("recipe", "seed", "score")


class Report(NamedTuple):
    """
    data: the texts
    teacher_data, student_data: their data folders for teacher and student
    names: of the classes; none for a regression
    best: of the runs, the student
    code: the user's --user-dir, if any
    """

    steps: Steps
    plan: Plan
    data: Data
    teacher: Teacher
    teacher_data: Path
    student_data: Path
    names: list[str]
    runs: list[Run]
    best: Run
    code: list[str]

    def write(self) -> tuple[str, float]:
        """Everything in --out but onnx/ and the work folder; the report, and the share retained."""
        best = self.best
        self.export("hf", self.steps.out)
        copy(best.checkpoint, self.steps.out / "checkpoint.pt")
        rows = self.measure()
        teacher, student = (
            rows[f"{name}, {FAIRSEQ}"][self.metrics[0]] for name in (TEACHER, best.title)
        )
        figures = {
            "metric": self.metrics[0],
            "teacher": teacher,
            "student": student,
            "recipe": best.recipe,
            "retained": student / teacher if teacher > 0 else 0.0,
            "runs": [{key: getattr(run, key) for key in COPIED} for run in self.runs],
            "models": rows,
            **({self.of_class: self.by_class()} if self.names else {}),
            "plan": self.plan.values,
        }
        out, folder = self.steps.out, self.steps.out / "report"
        folder.mkdir(exist_ok=True)
        text = self.markdown(figures)
        atomic_write(folder / "report.json", json.dumps(figures, indent=2))
        atomic_write(folder / "report.md", text)
        about = RECIPES[self.best.recipe].about
        card = model_card(self.shape, text, self.plan.length, about, self.data)
        atomic_write(out / "README.md", card)
        title, first = "Quality and latency", f"{TEACHER}, {FAIRSEQ}"
        plot_quality(rows, first, title, str(folder / "report.png"), x="p50")
        return text, figures["retained"]

    @property
    def made_by(self) -> list[str]:
        """The steps that made the teacher and the students."""
        return [*self.teacher.made_by, *(f"{run.recipe}-{run.seed}" for run in self.runs)]

    def export(self, form: str, target: Path) -> None:
        """A folder of Hugging Face, or with an ONNX model."""
        folder, student = self.steps.work / "exports" / form, self.best.checkpoint
        words = ["export", student, "--to", form, "--data", self.student_data, "--out", folder]
        words += self.code
        text = f"Exporting the student to {form}"
        self.steps.tool(f"export-{form}", text, words, folder, self.made_by)
        if not target.exists():
            target.mkdir()
            (target / OURS).touch()
        for file in sorted(folder.iterdir()):
            copy(file, target / file.name)
        for name in {*SETTINGS} - {*os.listdir(folder)}:  # of another model: transformers reads it
            (target / name).unlink(missing_ok=True)

    def export_onnx(self) -> None:
        """--out/onnx, if it is asked for; never an earlier student's.

        Raises:
            ValueError: if it differs too much from the student.
        """
        target, int8 = self.steps.out / "onnx", self.plan.int8
        if target.is_dir() and ((target / OURS).exists() or not any(target.iterdir())):
            shutil.rmtree(target)
        if not (int8 or self.plan.onnx):
            if target.exists():
                self.steps.say(f"{target} stays as it is: another command made it")
            return
        try:
            self.export("onnx-int8" if int8 else "onnx", target)
        except ValueError as error:
            raise ValueError(
                f"--{'int8' if int8 else 'onnx'}: {error}; `mixkd export` takes such flags, and "
                f"all else in {self.steps.out} is complete"
            ) from error

    def measure(self) -> dict[str, dict[str, Any]]:
        """The measures of `serving_report`, by model and format; in int8, if it can be exported."""
        name, int8 = "serving", self.teacher.folder is None and has_libraries(*ONNX)
        if int8:
            error = self.steps.optional(*self.serving(name, f"{FAIRSEQ},onnx-int8"))
            if error is not None:
                self.steps.say(f"  no rows of onnx-int8: {error}")
                name, int8 = "serving_fairseq", False
        if not int8:
            self.steps.tool(*self.serving(name, FAIRSEQ))
        return json.loads((self.steps.work / name / "serving.json").read_text())["models"]

    def serving(self, name: str, formats: str) -> tuple[Any, ...]:
        """The step of `serving_report` into the work folder NAME."""
        folder = self.steps.work / name
        paths = {TEACHER: self.teacher.path, self.best.title: self.best.checkpoint}
        words = [
            "serving_report", self.student_data,
            *(f"{model}={path}" for model, path in paths.items()),
            "--formats", formats, "--out", folder, "--rounds", ROUNDS, *self.code,
        ]  # fmt: skip
        words += [f"--labels={self.teacher.labels}"] if self.teacher.labels else []
        if self.teacher_data != self.student_data:
            words += ["--teacher-data", self.teacher_data]
        flags = {"; --formats leaves a format out": ""}
        return name, "Measuring quality and speed", words, folder, self.made_by, (), flags

    @property
    def of_class(self) -> str:
        """What is measured of each class."""
        return "f1" if self.data.multi_label else "recall"

    def by_class(self) -> dict[str, dict[str, float]]:
        """The recall, or with several labels the F1, of each class that the dev set has, in
        percent, of teacher and student."""
        paths = {TEACHER: self.teacher.path, "student": str(self.best.checkpoint)}
        ours = evaluation(
            str(self.student_data), paths, TEACHER, teacher_data=str(self.teacher_data),
            labels=self.teacher.labels,
        )  # fmt: skip
        several, count, found = self.data.multi_label, len(self.names), {}
        has = ours.targets.view(-1, count) if several else one_hot(ours.targets.flatten(), count)
        for name, one in ours.loaded.items():
            said = predict(ours.outputs(one.logits, ours.batches[name]), several)
            hits, both = label_counts(said if several else one_hot(said, count), has).view(2, -1)
            shares = 200 * hits.double() / (both if several else 2 * has.sum(dim=0))
            for label, share, there in zip(self.names, shares.tolist(), has.any(dim=0)):
                if there:
                    found.setdefault(label, {})[name] = share
        return found

    @property
    def shape(self) -> str:
        layers, width = self.plan.layers, self.plan.width
        narrower = f" of width {width}" if width < self.teacher.sizes.width else ""
        return f"{layers} layer{'s' if layers > 1 else ''}{narrower}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of QUALITY, for the table; the first one chooses students."""
        first = self.plan.metric
        others = () if first == "accuracy" else metrics_of(self.data)  # no F1 without its report
        keys = {"f1": name_of_f1(self.names)}
        return tuple(dict.fromkeys(keys.get(metric, metric) for metric in (first, *others)))

    def markdown(self, figures: dict[str, Any]) -> str:
        rows = figures["models"]
        shown, *also = (QUALITY[key][0] for key in self.metrics)
        scores: dict[str, list[float]] = {}
        for run in self.runs:
            scores.setdefault(run.title, []).append(run.score)
        kind = {"recall": "recall", "f1": "F1"}[self.of_class]
        by_class = figures.get(self.of_class, {}).items()
        parts = [
            f"The student ({self.best.title}, {self.shape}) has {figures['student']:.1f}, "
            f"the teacher {figures['teacher']:.1f} ({shown}): {figures['retained']:.1%} retained.",
            table(
                ["model", shown, *also, "MB", "latency p50, ms", "texts a second"],
                [[name, *(row[key] for key in (*self.metrics, "megabytes", "p50",
                  "sentences_per_second"))] for name, row in rows.items()],
            ),
            table(
                ["recipe", shown, "deviation", "seeds"],
                [[title, statistics.mean(its), statistics.stdev(its) if len(its) > 1 else "",
                  len(its)] for title, its in scores.items()],
            ),
            table(
                ["class", f"{kind} of the teacher, %", "of the student, %", "difference"],
                [[label, its[TEACHER], its["student"], its["student"] - its[TEACHER]]
                 for label, its in by_class],
            ),
            "The best of a run's checkpoints and the recipe were chosen on the dev set: on new "
            "texts expect a little less.",
        ]  # fmt: skip
        return "\n\n".join(filter(None, parts)) + "\n"


def table(header: list[str], rows: list[list]) -> str:
    """In Markdown, numbers with one decimal; nothing without rows."""
    cells = [[f"{c:.1f}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    return tabulate(cells, header, tablefmt="pipe", disable_numparse=True) if rows else ""


def copy(file: Path, target: Path) -> None:
    """Atomically."""
    target.parent.mkdir(exist_ok=True)
    with atomic_file(target) as unfinished:
        shutil.copyfile(file, unfinished)
