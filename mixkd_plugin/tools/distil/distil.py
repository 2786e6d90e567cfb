"""The work of `distil`: the steps in their order."""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

from fairseq.data import Dictionary

from ...names import join_names
from ...teacher.score import Score, weakness
from ...tokenizers.library import MASK
from ..cli import import_user_dir
from ..export.texts import spread
from ..labels import Matched
from ..locks import locked
from ..output import work_folder
from .checks import LOCK, PLAN, check_apart, check_arguments, check_out
from .data import Data, read_data
from .plan import Plan, fit_budget, make_plan, metrics_of, show_plan
from .plan_file import apply_plan, save_plan
from .recipes import RECIPES
from .report import Report
from .source import FAIRSEQ, Source, check_student, find_teacher, labels_of
from .steps import Steps
from .tables import label_columns, write_tables
from .teacher import Teacher, files_of_tokenizer, files_read, prepare, tokens_of
from .training import Run, Trainer, user_dir

MEASURED = 20_000  # texts whose tokens are counted
ENCODE = {  # words of its errors, and our flags
    "--max-length": "--length",
    "--dict must be the model's dict.txt": "--tokenizer must have the model's dict.txt beside it",
    "--dict": "--tokenizer",
}


def distil(args: argparse.Namespace) -> int:
    """Everything that the flags ask for; the exit code."""
    if args.plan:
        apply_plan(args)
    check_arguments(args)
    for folder in user_dir(args.flags)[1:]:
        import_user_dir(folder)
    out = Path(args.out).resolve()
    check_out(out, args.force)
    source = find_teacher(args)
    check_apart(out, args, source)
    check_student(args, source)
    regression = source.regression if source.outputs else None
    data = read_data(args, regression, source.multi_label, source.names or ())
    metrics = metrics_of(data)
    if args.metric not in (None, *metrics):
        raise ValueError(
            f"--metric must be {' or '.join(metrics)} for these labels, got {args.metric}"
        )
    matched = labels_of(source, data, args.labels, check=not args.allow_weak_teacher)
    with locked(out / LOCK, wait=False) as free:
        if not free:
            raise ValueError(f"--out must be free, got {args.out}, where another distillation runs")
        beside = args.dry_run and (out / "config.json").exists()  # of a finished student
        with work_folder(str(out), ".dry-run-") if beside else nullcontext(out) as folder:
            return run_steps(args, Steps(Path(folder)), source, data, matched)


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
    code = user_dir(args.flags)
    trainer = Trainer(steps, teacher_data, student_data, plan, [*args.flags, *code])
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
    folders, best = (teacher_data, student_data), keep(runs)
    report = Report(steps, plan, data, teacher, *folders, named, runs, best, code)
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
    text, more = "Encoding the texts", ["--out", folders[0]]
    rest = teacher.made_by, inputs, ENCODE, [steps.out / "checkpoint.pt"]
    steps.tool("data", text, words + more, folders[0], *rest)
    if plan.trim_vocabulary:
        folders.append(steps.work / "student_data")
        text, more = "Encoding them for the student", ["--out", folders[1], "--trim-vocabulary"]
        steps.tool("student_data", text, words + more, folders[1], *rest)
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
