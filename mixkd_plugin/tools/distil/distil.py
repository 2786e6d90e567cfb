"""The work of `distil`: the steps in their order."""

import argparse
import json
import os
from pathlib import Path

from fairseq.data import Dictionary

from ...names import join_names
from ...teacher.score import Score, weakness
from ...tokenizers.library import MASK
from ...tokenizers.specs import parse_spec
from ..export.texts import spread
from ..labels import Matched
from ..locks import locked
from ..output import check_folder
from .data import Data, read_data
from .plan import Plan, fit_budget, make_plan, metrics_of, show_plan
from .plan_file import apply_plan, save_plan
from .recipes import AUTO, RECIPES, check_recipes, chosen_recipes
from .report import Report
from .source import FAIRSEQ, Source, check_student, find_teacher, labels_of
from .steps import Steps
from .tables import label_columns, write_tables
from .teacher import Teacher, files_of_tokenizer, files_read, folder_with, prepare, tokens_of
from .training import Run, Trainer

MEASURED = 20_000  # texts whose tokens are counted
LOCK = Path("work", "distil")
PLAN = "plan.yaml"
REMOVED = ("work", "onnx")  # folders of --out that the steps replace
ENCODE = {  # words of its errors, and our flags
    "--max-length": "--length",
    "--dict must be the model's dict.txt": "--tokenizer must have the model's dict.txt beside it",
    "--dict": "--tokenizer",
}
OF_TRAIN = ("dev", "text", "label", "multi_label", "label_separator", "regression")


def distil(args: argparse.Namespace) -> int:
    """Everything that the flags ask for; the exit code."""
    if args.plan:
        apply_plan(args)
    check_arguments(args)
    out = Path(args.out).resolve()
    check_out(out, args.force)
    source = find_teacher(args)
    check_apart(out, args, source)
    check_student(args, source)
    regression = source.regression if source.outputs else None
    data = read_data(args, regression, source.multi_label)
    metrics = metrics_of(data)
    if args.metric not in (None, *metrics):
        raise ValueError(
            f"--metric must be {' or '.join(metrics)} for these labels, got {args.metric}"
        )
    matched = labels_of(source, data, args.labels, check=not args.allow_weak_teacher)
    with locked(out / LOCK, wait=False) as free:
        if not free:
            raise ValueError(f"--out must be free, got {args.out}, where another distillation runs")
        return run_steps(args, Steps(out), source, data, matched)


def run_steps(
    args: argparse.Namespace, steps: Steps, source: Source, data: Data, matched: Matched
) -> int:
    named = list(source.names or matched.order)  # classes, as teacher and student call them
    teacher = prepare(args, source, named, steps)
    if source.names is None or source.kind == FAIRSEQ:  # not those of a Hugging Face teacher
        named = [data.spelling.get(name, name) for name in named]
    tables = write_tables(data, matched.order, named, steps.work / "texts")
    tokens = tokens_of(teacher.tokenizer, spread([*data.train, *data.dev], MEASURED))
    plan = make_plan(args, data, teacher, tokens, steps.work)
    teacher, teacher_data, student_data = encode_texts(
        steps, source, data, tables, teacher, plan, named, args.max_unknown
    )
    trainer = Trainer(steps, teacher_data, student_data, plan, args.flags)
    checked = metrics_of(data)[0]
    notes, encoder = [*data.notes, *matched.notes], bool(args.encoder)
    if teacher.folder is not None:
        notes.append(
            "transformers computes the encoder as it is: the student has its class, padding is "
            "computed, too, and nothing is exported to ONNX"
        )
    if not encoder:
        score = score_teacher(steps, teacher_data, teacher, checked, data.constant)
        notes.append(check_teacher(args, score))
    minutes = fit_budget(plan, args, teacher, trainer.trial(teacher, encoder))
    dictionary = Dictionary.load(str(student_data / "input0" / "dict.txt"))
    dictionary.add_symbol(MASK)
    print(show_plan(plan, data, teacher, len(dictionary), notes, minutes), flush=True)
    save_plan(plan, args, steps.out / PLAN)
    if args.dry_run:
        return 0
    if encoder:
        teacher, found = trainer.teacher(teacher, checked)
        check_teacher(args, Score(checked, found, data.constant))
    runs = [
        trainer.student(name, teacher, seed, len(data.train))
        for seed in range(plan.seed, plan.seed + plan.seeds)
        for name in plan.recipes
    ]
    report = Report(steps, plan, data, teacher, teacher_data, student_data, named, runs, keep(runs))
    text, retained = report.write()
    print(text, flush=True)
    report.export_onnx()
    if args.min_retention is not None and retained < args.min_retention:
        steps.say(f"--min-retention {args.min_retention:g} is not reached: {retained:.3f}")
        return 1
    return 0


def encode_texts(
    steps: Steps, source: Source, data: Data, tables: dict[str, Path], teacher: Teacher,
    plan: Plan, named: list[str], max_unknown: float | None,
) -> tuple[Teacher, Path, Path]:  # fmt: skip
    """The teacher after these steps, and the data folders that teacher and student read.

    They are one, but for --trim-vocabulary.
    """
    words = [
        "encode", "--train", tables["train"], "--valid", tables["dev"],
        "--label", ",".join(label_columns(data, len(named))),
        *(["--multi-label"] if data.multi_label else []),
        "--text", "text,text2" if data.pairs else "text", "--tokenizer", teacher.tokenizer,
        "--max-length", plan.length, *(["--unlabelled"] if data.unlabelled_count else []),
        f"--labels={join_names(named)}" if named else "--regression",
        *([] if max_unknown is None else ["--max-unknown", max_unknown]),
    ]  # fmt: skip
    inputs = [*tables.values()]
    if not teacher.made_by:
        inputs += dict.fromkeys([*files_read(source), *files_of_tokenizer(teacher.tokenizer)])
    folders, done = [steps.work / "data"], (*teacher.made_by, "data")
    more = ["--out", folders[0]]
    steps.tool(
        "data", "Encoding the texts", words + more, folders[0], teacher.made_by, inputs, ENCODE
    )
    if plan.trim_vocabulary:
        folders.append(steps.work / "student_data")
        text, more = "Encoding them for the student", ["--out", folders[1], "--trim-vocabulary"]
        steps.tool("student_data", text, words + more, folders[1], teacher.made_by, inputs, ENCODE)
        done = (*done, "student_data")
    return teacher._replace(made_by=done), folders[0], folders[-1]


def keep(runs: list[Run]) -> Run:
    """The best run of the recipe with the best mean, that learns from the teacher if one does."""
    candidates = [run for run in runs if RECIPES[run.recipe].taught] or runs
    by_recipe: dict[str, list[Run]] = {}
    for run in candidates:
        by_recipe.setdefault(run.recipe, []).append(run)
    best = max(by_recipe.values(), key=lambda its: sum(run.score for run in its) / len(its))
    return max(best, key=lambda run: run.score)


def check_arguments(args: argparse.Namespace) -> None:
    """Raise ValueError unless one teacher and one source of texts are given."""
    if (args.teacher is None) == (args.encoder is None):
        raise ValueError("either --teacher or --encoder must be given, got "
                         f"{'both' if args.teacher else 'none'}")  # fmt: skip
    if (args.train is None) == (args.glue is None):
        raise ValueError("either --train FILE or --glue DIR --task NAME must be given, got "
                         f"{'both' if args.train else 'none'}")  # fmt: skip
    if (args.glue is None) != (args.task is None):
        raise ValueError(f"--task must be given with --glue, got {args.task}")
    for name in OF_TRAIN:
        if args.glue and getattr(args, name):
            raise ValueError(f"--{name.replace('_', '-')} must be given with --train, got --glue")
    if args.teacher_updates and not args.encoder:
        raise ValueError(
            f"--teacher-updates must be given with --encoder, got {args.teacher_updates}: a "
            "teacher is used as it is"
        )
    names = chosen_recipes(args.recipe or AUTO, bool(args.trim_vocabulary), False, False)
    check_recipes(names, bool(args.trim_vocabulary))
    if args.flags and not args.flags[0].startswith("-"):
        raise ValueError(f"flags of fairseq-train must follow --, got {' '.join(args.flags)}")
    for name in ("lr", "minutes"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} must be > 0, got {value}")
    for name in ("min_retention", "max_unknown"):
        value = getattr(args, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"--{name.replace('_', '-')} must be in [0, 1], got {value:g}")


def check_out(out: Path, force: bool) -> None:
    """Raise ValueError for a folder that cannot be written, or has files of others."""
    check_folder(str(out / LOCK.parent))
    if (out / LOCK).with_suffix(".lock").exists():
        return
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ValueError(
            f"--out must be new or empty, or of an earlier distillation, got {out}: --force "
            "writes into it"
        )
    if (out / PLAN).exists():  # its work folder was removed
        return
    for folder in (out / name for name in REMOVED):
        if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(
                f"--out must have no {folder.name} but that of an earlier distillation, got {out}: "
                f"--force would remove files in it; move {folder}, or name another --out"
            )


def check_apart(out: Path, args: argparse.Namespace, source: Source) -> None:
    """Raise ValueError if the student's files would take the place of those that are read."""
    flag = "--encoder" if args.encoder else "--teacher"
    read = [(flag, source.path), (flag, os.path.realpath(source.path))]
    read += [("--tokenizer", parse_spec(args.tokenizer)[1])] if args.tokenizer else []
    for flag, path in read:
        folder = Path(folder_with(path)).resolve()
        if folder == out or any(folder.is_relative_to(out / name) for name in REMOVED):
            raise ValueError(
                f"--out must be another folder than that of {flag}, got {args.out}: its files "
                "would be replaced by the student's; name another --out"
            )


def score_teacher(
    steps: Steps, teacher_data: Path, teacher: Teacher, metric: str, constant: float
) -> Score:
    """On the dev set."""
    folder = steps.work / "teacher_score"
    words = ["compare", teacher_data, f"teacher={teacher.path}", "--out", folder, "--rounds", 1]
    words += [f"--labels={teacher.labels}"] if teacher.labels else []
    steps.tool(
        "teacher_score", "Scoring the teacher on the dev set", words, folder, teacher.made_by
    )
    found = json.loads((folder / "compare.json").read_text())["models"]["teacher"]
    return Score(metric, found[metric], constant, found.get("r2"))


def check_teacher(args: argparse.Namespace, score: Score) -> str:
    """A sentence with the teacher's score.

    Raises:
        ValueError: if it is hardly better than no model.
    """
    reason = weakness(score, "the dev set", "--labels", "--length")
    if reason and not args.allow_weak_teacher:
        flag = "--encoder" if args.encoder else "--teacher"
        cure = "more --teacher-updates, or " if args.encoder else ""
        raise ValueError(f"{flag} {reason}; {cure}--allow-weak-teacher goes on")
    return f"the teacher's {score.metric} on the dev set is {score.value:.1f}"
