"""What it costs to serve a teacher and its students, in each format: a table and a figure.

    python -m mixkd_plugin.tools.serving_report DATA_DIR teacher=T.pt student=S.pt \
        --tokenizer wordpiece:DIR --out DIR

Each checkpoint is exported (DIR/exports/NAME/FORMAT, compared with fairseq as `export` does) and
measured beside fairseq's own pass: size of the weights (of a checkpoint without the optimizer's
state, of an export the file's), latency of one text (p50, p95), texts a second in batches, quality
on the labelled split, and how often it says what the teacher says. DIR gets serving.md,
serving.json and serving.png. All models take turns on the same texts, on this machine's CPU, so
that a busy neighbour slows all alike. Tokenising is not timed.
"""

import argparse
import json
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq.models.roberta import RobertaModel
from torch import Tensor

from ..cli import add_user_dir, import_user_dir, run_cli
from ..compare import compare
from ..export.export import export, open_export
from ..export.formats import FORMATS
from ..output import check_folder
from ..report.figure_style import pyplot
from ..scoring import (
    HEAD_HELP,
    Batch,
    Loaded,
    batches_of_all,
    in_order,
    likeness,
    load_all,
    measure_speeds,
    metrics_asked,
    quality,
    size_of,
    targets_of,
)
from ..tokenizers.subwords import TOKENIZERS
from .figure import plot_serving
from .latency import SINGLE_TEXTS, measure_latencies, percentile, singles

FAIRSEQ = "fairseq"
MEASURES = {
    **{
        key: compare.MEASURES[key]
        for key in ("accuracy", "f1", "mcc", "pearson", "spearman", "agreement", "correlation")
    },
    "parameters": ("parameters", "{:,}"),
    "megabytes": ("MB of weights", "{:.1f}"),
    "p50": ("latency p50, ms", "{:.1f}"),
    "p95": ("p95, ms", "{:.1f}"),
    "sentences_per_second": ("texts a second", "{:.0f}"),
}


class Candidate(NamedTuple):
    """A checkpoint in a format."""

    name: str
    form: str
    logits: Callable[[Batch], Tensor]
    megabytes: float

    @property
    def label(self) -> str:
        return f"{self.name}, {self.form}"


def serving_report(
    data: str,
    paths: Dict[str, str],
    teacher: str,
    tokenizer: str,
    out: str,
    formats: Sequence[str],
    split: str = "valid",
    batch_size: int = 32,
    rounds: int = 5,
    teacher_data: Optional[str] = None,
    teacher_tokenizer: Optional[str] = None,
    head: Optional[str] = None,
) -> Tuple[Dict[str, Dict[str, Any]], int]:
    """{"NAME, FORMAT": measures}, and the number of labelled texts.

    Args:
        teacher_data, teacher_tokenizer: the teacher's, if it has a vocabulary of its own
        head: the classification head to use, see :func:`scoring.load`

    Raises:
        ValueError: where a checkpoint cannot be used or exported, or two read data differently.
    """
    loaded = load_all(paths, data, teacher, teacher_data, head)
    batches = batches_of_all(loaded, split, batch_size)
    targets = targets_of(batches[teacher])
    tokenizers = {**dict.fromkeys(paths, tokenizer), teacher: teacher_tokenizer or tokenizer}
    candidates: List[Candidate] = []
    for name in paths:
        for form in formats:
            print(f"{name}: {form}", flush=True)
            folder = os.path.join(out, "exports", name, form)
            candidates.append(candidate(name, form, loaded[name], tokenizers[name], folder))
    models = {one.label: one.logits for one in candidates}
    reads = {one.label: batches[one.name] for one in candidates}

    def outputs_of(logits: Callable[[Batch], Tensor], its: Sequence[Batch]) -> Tensor:
        return in_order([logits(batch) for batch in its], its)

    with torch.no_grad():
        outputs = {label: outputs_of(logits, reads[label]) for label, logits in models.items()}
        teacher_outputs = outputs_of(loaded[teacher].logits, batches[teacher])
        latencies = measure_latencies(models, {k: singles(its) for k, its in reads.items()})
        speeds = measure_speeds(models, reads, rounds)
    rows, asked = {}, metrics_asked(loaded.values())
    for one in candidates:
        its = loaded[one.name]
        served = [its.model]
        if isinstance(its.model, RobertaModel):  # without its language-model head
            head = its.task.cfg.classification_head_name
            served = [its.model.encoder.sentence_encoder, its.model.classification_heads[head]]
        rows[one.label] = {
            **quality(its, outputs[one.label], targets, asked),
            **likeness(its, outputs[one.label], teacher_outputs),
            "parameters": sum(p.numel() for module in served for p in module.parameters()),
            "megabytes": one.megabytes,
            "p50": percentile(latencies[one.label], 50),
            "p95": percentile(latencies[one.label], 95),
            "sentences_per_second": speeds[one.label],
            "name": one.name,  # the last two are for the figure
            "format": one.form,
        }
    return rows, len(targets)


def candidate(name: str, form: str, loaded: Loaded, tokenizer: str, folder: str) -> Candidate:
    if form == FAIRSEQ:
        return Candidate(name, form, loaded.logits, size_of(loaded.path)["bytes"] / 1e6)
    try:
        head = loaded.task.cfg.classification_head_name
        export(loaded.path, folder, form, tokenizer, loaded.data, force=True, head=head)
    except ValueError as error:
        raise ValueError(f"{name}, {form}: {error}; --formats leaves a format out") from error
    opened = open_export(folder, form, loaded, tokenizer)

    def logits(batch: Batch) -> Tensor:
        return opened(batch["net_input"]["src_tokens"])

    size = os.path.getsize(os.path.join(folder, FORMATS[form].file)) / 1e6
    return Candidate(name, form, logits, size)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.serving_report", description=__doc__.split("\n")[0]
    )
    forms = (FAIRSEQ, *FORMATS)
    add = parser.add_argument
    add("data", metavar="DATA_DIR", help="data folder of the task, with the labelled split")
    add("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    add("--tokenizer", required=True, metavar="KIND:PATH", help="; ".join(TOKENIZERS.values()))
    add("--teacher", metavar="NAME", help="which of them is the teacher (default: the first)")
    add("--teacher-data", metavar="DIR", help="DATA_DIR in the teacher's own vocabulary")
    add("--teacher-tokenizer", metavar="KIND:PATH", help="what that was encoded by")
    add("--formats", default=",".join(forms), metavar="A,B,...", help="default: %(default)s")
    add("--out", required=True, metavar="DIR", help="for serving.md, .json, .png and exports")
    add("--classification-head-name", metavar="NAME", help=HEAD_HELP)
    add("--split", default="valid", help="labelled split (default: %(default)s)")
    add(
        "--batch-size",
        type=compare.positive,
        default=32,
        help="texts a batch (default: %(default)s)",
    )
    add(
        "--rounds",
        type=compare.positive,
        default=5,
        help="timed rounds of batches (default: %(default)s)",
    )
    add_user_dir(parser)
    return parser


def work(args: argparse.Namespace) -> None:
    forms = (FAIRSEQ, *FORMATS)
    pyplot()
    paths = compare.parse_checkpoints(args.checkpoints)
    teacher = args.teacher or next(iter(paths))
    if teacher not in paths:
        raise ValueError(f"--teacher must be one of {', '.join(paths)}, got {teacher}")
    for name in paths:  # each has a folder in --out
        if "/" in name or os.sep in name or name in (".", ".."):
            raise ValueError(f"NAME=CHECKPOINT must have a NAME without slashes, got {name}")
    formats = args.formats.split(",")
    unknown = [form for form in formats if form not in forms]
    if unknown:
        raise ValueError(f"--formats must be of {', '.join(forms)}, got {args.formats}")
    if (args.teacher_data is None) != (args.teacher_tokenizer is None):
        raise ValueError("--teacher-data and --teacher-tokenizer: one needs the other")
    check_folder(args.out)
    import_user_dir(args.user_dir)
    os.makedirs(args.out, exist_ok=True)
    rows, count = serving_report(
        args.data,
        paths,
        teacher,
        args.tokenizer,
        args.out,
        formats,
        args.split,
        args.batch_size,
        args.rounds,
        args.teacher_data,
        args.teacher_tokenizer,
        args.classification_head_name,
    )
    threads = torch.get_num_threads()
    table = compare.markdown(rows, MEASURES) + (
        f"\n\n{count} texts of `{args.split}`; agreement is with {teacher} in fairseq. On the CPU, "
        f"{threads} thread{'s' if threads > 1 else ''}; latency of up to {SINGLE_TEXTS} texts, one "
        f"at a time; texts a second in batches of {args.batch_size} of similar length.\n"
    )
    print(table)
    write(args.out, rows, {"teacher": teacher, "texts": count, "threads": threads}, table)


def write(out: str, rows: Dict[str, Dict[str, Any]], about: Dict[str, Any], table: str) -> None:
    with open(os.path.join(out, "serving.md"), "w", encoding="utf-8") as f:
        f.write(table)
    with open(os.path.join(out, "serving.json"), "w", encoding="utf-8") as f:
        json.dump({**about, "models": rows}, f, indent=2)
    metric = next(iter(next(iter(rows.values()))))
    plot_serving(rows, metric, MEASURES[metric][0], os.path.join(out, "serving.png"))


def main(argv=None):
    run_cli("serving_report", build_parser, work, argv)
