"""What a distillation leaves: the student in its formats, its model card, and the report."""

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from ..compare.compare import plot_quality
from ..evaluation import QUALITY, evaluation
from ..study.jobs import atomic_write
from .data import Data
from .labels import Matched
from .plan import Plan
from .recipes import RECIPES
from .steps import Steps, has_libraries
from .teacher import Teacher
from .training import Run

TEACHER = "teacher"
ONNX = ("onnx", "onnxruntime", "onnxscript")


class Result(NamedTuple):
    text: str
    retained: float  # the student's share of the teacher's score


def make(steps: Steps, args: argparse.Namespace, plan: Plan, data: Data, teacher: Teacher,
         encoded: Path, runs: list[Run], best: Run, matched: Matched, metric: str) -> Result:  # fmt: skip
    after = [*teacher.after, "data", *(f"{run.recipe}-{run.seed}" for run in runs)]
    export(steps, args, plan, teacher, encoded, best, matched, after)
    serving = measure(steps, teacher, encoded, first_of(runs, best), after)
    rows = serving["models"]
    taught, student = rows[f"{TEACHER}, fairseq"][metric], rows[f"{best.title}, fairseq"][metric]
    retained = student / taught if taught > 0 else 0.0
    figures = {
        "metric": metric,
        "teacher": taught,
        "student": student,
        "recipe": best.recipe,
        "retained": retained,
        "runs": [{"recipe": r.recipe, "seed": r.seed, "score": r.score} for r in runs],
        "models": rows,
        "recall": recalls(encoded, teacher, best) if data.classes else {},
        "plan": plan.values,
    }
    text = as_markdown(figures, runs, best, plan)
    folder = steps.out / "report"
    folder.mkdir(exist_ok=True)
    atomic_write(folder / "report.json", json.dumps(figures, indent=2, default=str))
    atomic_write(folder / "report.md", text)
    plot_quality(
        rows, f"{TEACHER}, fairseq", "Quality and latency", str(folder / "report.png"), x="p50"
    )
    atomic_write(steps.out / "README.md", card(text, plan, data, best))
    return Result(text, retained)


def export(steps, args, plan, teacher, encoded, best, matched, after) -> None:
    """OUT as a Hugging Face folder, checkpoint.pt and OUT/onnx."""
    wanted = {"hf": steps.work / "hf"}
    if args.onnx or args.int8:
        wanted["onnx-int8" if args.int8 else "onnx"] = steps.work / "onnx"
    for form, folder in wanted.items():
        words = ["export", best.checkpoint, folder, "--to", form, "--tokenizer", teacher.tokenizer,
                 "--data", encoded, "--max-length", plan.length]  # fmt: skip
        steps.tool(f"export-{form}", f"Exporting the student to {form}", words, folder, after)
        target = steps.out if form == "hf" else steps.out / "onnx"
        target.mkdir(exist_ok=True)
        for file in sorted(folder.iterdir()):
            unfinished = target / f".{file.name}.tmp"
            shutil.copyfile(file, unfinished)
            unfinished.replace(target / file.name)
    unfinished = steps.out / ".checkpoint.tmp"
    shutil.copyfile(best.checkpoint, unfinished)
    unfinished.replace(steps.out / "checkpoint.pt")


def first_of(runs: list[Run], best: Run) -> dict[str, Run]:
    """A run of each recipe: the kept one, and the best of the others."""
    chosen = {best.title: best}
    for run in sorted(runs, key=lambda run: -run.score):
        chosen.setdefault(run.title, run)
    return chosen


def measure(
    steps: Steps, teacher: Teacher, encoded: Path, chosen: dict[str, Run], after
) -> dict[str, Any]:
    folder = steps.work / "serving"
    formats = "fairseq,onnx-int8" if has_libraries(*ONNX) else "fairseq"
    models = [
        f"{TEACHER}={teacher.checkpoint}",
        *(f"{t}={r.checkpoint}" for t, r in chosen.items()),
    ]
    words = ["serving_report", encoded, *models, "--tokenizer", teacher.tokenizer, "--out", folder,
             "--formats", formats]  # fmt: skip
    steps.tool("serving", "Measuring quality and speed", words, folder, after)
    return json.loads((folder / "serving.json").read_text())


def recalls(encoded: Path, teacher: Teacher, best: Run) -> dict[str, dict[str, float]]:
    """Of each class, in percent, of teacher and student."""
    paths = {TEACHER: str(teacher.checkpoint), "student": str(best.checkpoint)}
    ours = evaluation(str(encoded), paths, TEACHER)
    dictionary = ours.loaded[TEACHER].task.label_dictionary
    found: dict[str, dict[str, float]] = {}
    for name, one in ours.loaded.items():
        answers = ours.outputs(one.logits, ours.batches[name]).argmax(dim=1)
        for i, label in enumerate(
            dictionary.symbols[dictionary.nspecial :][: one.task.cfg.num_classes]
        ):
            of_it = ours.targets.flatten() == i
            if of_it.any():
                recall = 100 * (answers[of_it] == i).double().mean().item()
                found.setdefault(label, {})[name] = recall
    return found


def as_markdown(figures: dict[str, Any], runs: list[Run], best: Run, plan: Plan) -> str:
    metric = figures["metric"]
    scores: dict[str, list[float]] = {}
    for run in runs:
        scores.setdefault(run.title, []).append(run.score)
    shown = QUALITY[metric][0]
    by_recipe = tabulate([
        (title, f"{statistics.mean(found):.1f}",
         f"{statistics.stdev(found):.1f}" if len(found) > 1 else "", len(found))
        for title, found in scores.items()
    ], ["recipe", shown, "deviation", "seeds"], tablefmt="pipe", disable_numparse=True)  # fmt: skip
    by_model = tabulate([
        (name, f"{row[metric]:.1f}", f"{row['megabytes']:.1f}", f"{row['p50']:.1f}",
         f"{row['sentences_per_second']:.0f}") for name, row in figures["models"].items()
    ], ["model", shown, "MB", "latency p50, ms", "texts a second"], tablefmt="pipe", disable_numparse=True)  # fmt: skip
    parts = [
        f"The student ({best.title}, {plan.layers} layers) has {figures['student']:.1f} of the teacher's "
        f"{figures['teacher']:.1f} ({shown}): {figures['retained']:.1%} are retained.",
        by_model,
        by_recipe,
        "The best of a run's checkpoints and the recipe were chosen on the dev set: on new texts "
        "expect a little less.",
    ]
    if figures["recall"]:
        rows = [(label, f"{its[TEACHER]:.1f}", f"{its['student']:.1f}", f"{its['student'] - its[TEACHER]:+.1f}")
                for label, its in figures["recall"].items()]  # fmt: skip
        head = ["class", "recall of the teacher, %", "of the student, %", "difference"]
        parts.insert(3, tabulate(rows, head, tablefmt="pipe", disable_numparse=True))
    return "\n\n".join(parts) + "\n"


def card(text: str, plan: Plan, data: Data, best: Run) -> str:
    """README.md of the student."""
    example = '{"text": "...", "text_pair": "..."}' if data.pairs else '"..."'
    return f"""---
library_name: transformers
pipeline_tag: text-classification
---

# A student of {plan.layers} layers

{text}
```python
from transformers import pipeline

classify = pipeline("text-classification", model=".", truncation=True)
print(classify({example}))
```

Texts of more than {plan.length} tokens are cut, as in training. Recipe: {RECIPES[best.recipe].about}.
`commands.sh` has every command that made it, `plan.yaml` its settings, `checkpoint.pt` is the
fairseq checkpoint.
"""
