"""Compare trained checkpoints on one data folder: quality, size, speed, agreement with the teacher.

    python -m mixkd_plugin.tools.compare DATA_DIR teacher=T.pt fine-tuned=A.pt mixkd=B.pt --out DIR

Prints a Markdown table; DIR gets compare.md, compare.json and compare.png. The first checkpoint is
the teacher unless --teacher names another. Every example of the split counts. Speed is measured on
this machine's CPU: the models take turns on the same batches, round after round, and the median of
the rounds is reported, so that a busy neighbour slows all alike.
"""

import argparse
import json
import os
import sys
from typing import Dict, Mapping, Optional, Sequence, Tuple

import torch

from .. import scoring
from ..cli import add_user_dir, import_user_dir, run_cli
from ..output import check_folder
from .plot import plot_quality

# Key of a measure, its heading, and how it is printed.
MEASURES = {
    "accuracy": ("accuracy, %", "{:.1f}"),
    "f1": ("F1, %", "{:.1f}"),
    "mcc": ("MCC, %", "{:.1f}"),
    "pearson": ("Pearson, %", "{:.1f}"),
    "spearman": ("Spearman, %", "{:.1f}"),
    "agreement": ("agreement with the teacher, %", "{:.1f}"),
    "correlation": ("Pearson with the teacher, %", "{:.1f}"),
    "layers": ("layers", "{}"),
    "parameters": ("parameters", "{:,}"),
    "megabytes": ("MB of weights", "{:.1f}"),
    "sentences_per_second": ("sentences a second", "{:.0f}"),
}


def compare(
    data: str,
    paths: Dict[str, str],
    teacher: str,
    split: str = "valid",
    batch_size: int = 32,
    rounds: int = 5,
    teacher_data: Optional[str] = None,
    head: Optional[str] = None,
) -> Tuple[Dict[str, Dict[str, float]], int]:
    """{name: measures} of checkpoints {name: path}, and the number of examples.

    Args:
        teacher_data: the same examples in the teacher's vocabulary, if it is not the students'
        head: the classification head to use, see :func:`scoring.load`

    Raises:
        ValueError: where a checkpoint cannot be used, or two read the data differently.
    """
    loaded = scoring.load_all(paths, data, teacher, teacher_data, head)
    batches = scoring.batches_of_all(loaded, split, batch_size)
    targets = scoring.targets_of(batches[teacher])
    outputs = {
        name: scoring.in_order([one.logits(batch) for batch in batches[name]], batches[name])
        for name, one in loaded.items()
    }
    speeds = scoring.measure_speeds(
        {name: one.logits for name, one in loaded.items()}, batches, rounds
    )
    rows, asked = {}, scoring.metrics_asked(loaded.values())
    for name, one in loaded.items():
        rows[name] = {
            **scoring.quality(one, outputs[name], targets, asked),
            **scoring.likeness(one, outputs[name], outputs[teacher]),
            "layers": scoring.count_layers(one.model.state_dict()),
            "parameters": sum(p.numel() for p in one.model.parameters()),
            "megabytes": scoring.size_of(one.path)["bytes"] / 1e6,
            "sentences_per_second": speeds[name],
        }
    return rows, len(outputs[teacher])


def markdown(
    rows: Dict[str, Dict[str, float]], measures: Mapping[str, Tuple[str, str]] = MEASURES
) -> str:
    keys = [key for key in measures if key in next(iter(rows.values()))]
    lines = [
        "| model | " + " | ".join(measures[key][0] for key in keys) + " |",
        "|---" * (len(keys) + 1) + "|",
    ]
    for name, row in rows.items():
        cells = (measures[key][1].format(row[key]) for key in keys)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parse_checkpoints(items: Sequence[str]) -> Dict[str, str]:
    """NAME=PATH ... as {name: path}."""
    paths: Dict[str, str] = {}
    for item in items:
        name, _, path = item.partition("=")
        if not name or not path or name in paths:
            raise ValueError(f"{item!r}: allowed is NAME=CHECKPOINT, every name once")
        paths[name] = path
    return paths


def positive(text: str) -> int:
    """A number of a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; allowed: 1 or more")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.compare", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("data", metavar="DATA_DIR", help="data folder of the task")
    add("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    add("--teacher", metavar="NAME", help="which of them is the teacher (default: the first)")
    add("--teacher-data", metavar="DIR", help="DATA_DIR in the teacher's own vocabulary")
    add("--out", required=True, metavar="DIR", help="for compare.md, compare.json, compare.png")
    add("--split", default="valid", help="split to score (default: %(default)s)")
    add("--batch-size", type=positive, default=32, help="sentences a batch (default: %(default)s)")
    add("--rounds", type=positive, default=5, help="timed rounds (default: %(default)s)")
    add("--classification-head-name", metavar="NAME", help=scoring.HEAD_HELP)
    add("--title", default="Quality and speed", help="of the plot (default: %(default)s)")
    add_user_dir(parser)
    return parser


def work(args: argparse.Namespace) -> None:
    paths = parse_checkpoints(args.checkpoints)
    teacher = args.teacher or next(iter(paths))
    if teacher not in paths:
        raise ValueError(f"--teacher {teacher}; allowed: {', '.join(paths)}")
    check_folder(args.out)
    import_user_dir(args.user_dir)
    rows, count = compare(
        args.data,
        paths,
        teacher,
        args.split,
        args.batch_size,
        args.rounds,
        args.teacher_data,
        args.classification_head_name,
    )
    table = markdown(rows) + (
        f"\n\n{count} examples of `{args.split}`; speed on the CPU, {torch.get_num_threads()} "
        f"threads, batches of {args.batch_size}.\n"
    )
    os.makedirs(args.out, exist_ok=True)
    print(table)
    with open(os.path.join(args.out, "compare.md"), "w", encoding="utf-8") as f:
        f.write(table)
    with open(os.path.join(args.out, "compare.json"), "w", encoding="utf-8") as f:
        json.dump({"teacher": teacher, "examples": count, "models": rows}, f, indent=2)
    metric = next(iter(rows[teacher]))
    picture = os.path.join(args.out, "compare.png")
    try:
        plot_quality(rows, teacher, metric, MEASURES[metric][0], args.title, picture)
    except ValueError as error:
        print(f"compare: no compare.png: {error}", file=sys.stderr)


def main(argv=None):
    run_cli("compare", build_parser, work, argv)
