"""Compare trained checkpoints on one data folder: quality, size, speed, agreement with the teacher.

    python -m mixkd_plugin.tools.compare DATA_DIR teacher=T.pt fine-tuned=A.pt mixkd=B.pt --out DIR

Prints a Markdown table; DIR gets compare.md, compare.json and compare.png. The first checkpoint is
the teacher unless --teacher names another. Every example of the split counts. Speed is measured on
this machine's CPU: in each round every model computes the same batches, and the median of the
rounds is reported, so that other load on the machine slows all models equally.
"""

import argparse
import os
import sys
from collections.abc import Mapping

import torch

from ..cli import command_parser, run_cli
from ..evaluation import (
    QUALITY,
    Rows,
    add_arguments,
    evaluation,
    markdown,
    options_of,
    paths_of,
    write,
)
from ..plots import pyplot
from ..scoring import count_layers, size_of

MEASURES = {
    **QUALITY,
    "layers": ("layers", "{}"),
    "parameters": ("parameters", "{:,}"),
    "megabytes": ("MB of weights", "{:.1f}"),
    "sentences_per_second": ("sentences a second", "{:.0f}"),
}


def compare(data: str, paths: Mapping[str, str], teacher: str, **options) -> tuple[Rows, int]:
    """{name: measures} of checkpoints {name: path}, and the number of examples.

    ``options`` and errors are those of :func:`evaluation`.
    """
    ours = evaluation(data, paths, teacher, **options)
    models = {name: one.logits for name, one in ours.loaded.items()}
    rows = ours.measure(models, name_of={name: name for name in paths})
    for name, one in ours.loaded.items():
        rows[name].update(
            layers=count_layers(one.model.state_dict()),
            parameters=sum(p.numel() for p in one.model.parameters()),
            megabytes=size_of(one.path)["bytes"] / 1e6,
        )
    return rows, sum(len(batch["id"]) for batch in ours.batches[teacher])


X_AXES = {
    "sentences_per_second": "sentences a second on this CPU (more is better)",
    "p50": "latency of one text on this CPU, ms (less is better)",
}


def plot_quality(
    rows: Rows, teacher: str, title: str, path: str, x: str = "sentences_per_second"
) -> None:
    """Quality against speed, a point for each model, the teacher's quality as a line.

    Args:
        x: the measure of speed, of X_AXES

    Raises:
        ValueError: where matplotlib is not installed.
    """
    metric = next(iter(rows[teacher]))
    figure, axes = pyplot().subplots(figsize=(8, 4.8), layout="constrained")
    axes.axhline(rows[teacher][metric], color="0.6", linestyle="--", linewidth=1)
    for name, row in rows.items():
        label = f"{name}  {row[metric]:.1f}  ({row['megabytes']:.0f} MB)"
        axes.scatter(row[x], row[metric], s=70, label=label, zorder=3)
    axes.set_xlim(left=0)
    axes.set(xlabel=X_AXES[x], ylabel=MEASURES[metric][0], title=title)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    pyplot().close(figure)


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("compare", __doc__)
    add_arguments(parser, out="compare.md, compare.json, compare.png")
    title = "title of the plot (default: %(default)s)"
    parser.add_argument("--title", default="Quality and speed", help=title)
    return parser


def work(args: argparse.Namespace) -> None:
    paths = paths_of(args)
    rows, count = compare(args.data, paths, args.teacher, **options_of(args))
    table = markdown(rows, MEASURES) + (
        f"\n\n{count} examples of `{args.split}`; speed on the CPU, {torch.get_num_threads()} "
        f"threads, batches of {args.batch_size}.\n"
    )
    write(args.out, "compare", rows, {"teacher": args.teacher, "examples": count}, table)
    try:
        plot_quality(rows, args.teacher, args.title, os.path.join(args.out, "compare.png"))
    except ValueError as error:
        print(f"compare: no compare.png: {error}", file=sys.stderr)


def main(argv=None):
    run_cli("compare", build_parser, work, argv)
