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
import statistics
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import torch
from fairseq import checkpoint_utils
from torch import Tensor

from .. import metrics
from ..safe_reading import read_checkpoint
from .plot import plot_quality

# What must be equal in the configurations of all checkpoints, for a data folder to mean the same.
SHARED_SETTINGS = ("init_token", "separator_token", "num_classes", "regression_target")

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
    "megabytes": ("MB on disk", "{:.1f}"),
    "sentences_per_second": ("sentences a second", "{:.0f}"),
}


class Loaded(NamedTuple):
    path: str
    model: torch.nn.Module
    cfg: Any
    task: Any

    def logits(self, batch: Dict[str, Any]) -> Tensor:
        head = self.task.cfg.classification_head_name
        with torch.no_grad():
            logits, _ = self.model(
                **batch["net_input"], features_only=True, classification_head_name=head
            )
        return logits.float()


def compare(
    data: str,
    paths: Dict[str, str],
    teacher: str,
    split: str = "valid",
    batch_size: int = 32,
    rounds: int = 5,
) -> Tuple[Dict[str, Dict[str, float]], int]:
    """{name: measures} of checkpoints {name: path}, and the number of examples.

    Raises:
        ValueError: where a checkpoint cannot be used, or two read the data differently.
    """
    loaded = {name: load(path, data) for name, path in paths.items()}
    check_alike(loaded)
    batches = make_batches(loaded[teacher].task, split, batch_size)
    targets = torch.cat([batch["target"].flatten() for batch in batches])
    outputs = {
        name: torch.cat([one.logits(batch) for batch in batches]) for name, one in loaded.items()
    }
    speeds = measure_speeds({name: one.logits for name, one in loaded.items()}, batches, rounds)
    rows = {}
    for name, one in loaded.items():
        rows[name] = {
            **quality(one, outputs[name], targets),
            **likeness(one, outputs[name], outputs[teacher]),
            "layers": len(one.model.encoder.sentence_encoder.layers),
            "parameters": sum(p.numel() for p in one.model.parameters()),
            "megabytes": os.path.getsize(one.path) / 1e6,
            "sentences_per_second": speeds[name],
        }
    return rows, len(outputs[teacher])


def load(path: str, data: str) -> Loaded:
    """A checkpoint's model and task, with the data folder in place of its own."""
    state = read_checkpoint(path, {"data": data})
    (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([path], state=state)
    head = getattr(task.cfg, "classification_head_name", None)
    if head is None or head not in model.classification_heads:
        raise ValueError(f"{path} has no classification head: it was not trained for sentences")
    return Loaded(path, model.eval(), cfg, task)


def check_alike(loaded: Dict[str, Loaded]) -> None:
    (first_name, first), *others = loaded.items()
    for name, other in others:
        for key in SHARED_SETTINGS:
            ours, theirs = first.task.cfg[key], other.task.cfg[key]
            if ours != theirs:
                flag = f"--{key.replace('_', '-')}"
                raise ValueError(
                    f"{name} was trained with {flag} {theirs}, {first_name} with {ours}"
                )


def make_batches(task, split: str, batch_size: int) -> List[Dict[str, Any]]:
    """Every example of the split, in batches of similar length."""
    task.load_dataset(split)
    dataset = task.dataset(split)
    order = sorted(range(len(dataset)), key=dataset.size)
    parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [dataset.collater([dataset[i] for i in part]) for part in parts]


def quality(loaded: Loaded, outputs: Tensor, targets: Tensor) -> Dict[str, float]:
    """The task's metrics in percent, the one to plot first."""
    classes, criterion = loaded.task.cfg.num_classes, loaded.cfg.criterion
    if loaded.task.cfg.regression_target:
        pearson, spearman = metrics.correlations(
            outputs.numpy(), targets.view(-1, classes).float().numpy()
        )
        return {"pearson": 100 * pearson, "spearman": 100 * spearman}
    predictions = outputs.argmax(dim=1)
    result = {"accuracy": _percent_equal(predictions, targets)}
    confusion = metrics.confusion_counts(predictions, targets, classes)
    if criterion.report_acc_and_f1:
        dictionary = loaded.task.label_dictionary
        names = dictionary.symbols[dictionary.nspecial :][:classes]
        counts = metrics.f1_counts(confusion, metrics.classes_of_f1(names))
        result["f1"] = 100 * metrics.f1_score(counts.numpy())
    if criterion.report_mcc:
        square = confusion.view(classes, classes).numpy()
        result["mcc"] = 100 * metrics.matthews_corrcoef(square)
    return result


def likeness(loaded: Loaded, outputs: Tensor, teacher_outputs: Tensor) -> Dict[str, float]:
    """Share of examples with the teacher's class; for regression, correlation of the scores."""
    if loaded.task.cfg.regression_target:
        pearson, _ = metrics.correlations(outputs.numpy(), teacher_outputs.numpy())
        return {"correlation": 100 * pearson}
    agreed = _percent_equal(outputs.argmax(dim=1), teacher_outputs.argmax(dim=1))
    return {"agreement": agreed}


def _percent_equal(a: Tensor, b: Tensor) -> float:
    return 100 * (a == b).double().mean().item()


def measure_speeds(
    models: Dict[str, Callable[[Dict[str, Any]], Tensor]],
    batches: Sequence[Dict[str, Any]],
    rounds: int,
) -> Dict[str, float]:
    """Sentences a second of each model: the median of rounds over up to nine batches."""
    step = -(-len(batches) // 9)
    batches = batches[step // 2 :: step]  # spread over all lengths
    sentences = sum(len(batch["id"]) for batch in batches)
    seconds: Dict[str, List[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        names = list(models)
        turn_of = turn % len(names)
        for name in names[turn_of:] + names[:turn_of]:  # nobody is always first
            start = time.perf_counter()
            for batch in batches:
                models[name](batch)
            if turn > 0:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: sentences / statistics.median(times) for name, times in seconds.items()}


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


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.compare", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("data", metavar="DATA_DIR", help="data folder of the task")
    add("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    add("--teacher", metavar="NAME", help="which of them is the teacher (default: the first)")
    add("--out", required=True, metavar="DIR", help="for compare.md, compare.json, compare.png")
    add("--split", default="valid", help="split to score (default: %(default)s)")
    add("--batch-size", type=int, default=32, help="sentences a batch (default: %(default)s)")
    add("--rounds", type=int, default=5, help="timed rounds (default: %(default)s)")
    add("--title", default="Quality and speed", help="of the plot (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        paths = parse_checkpoints(args.checkpoints)
        teacher = args.teacher or next(iter(paths))
        if teacher not in paths:
            raise ValueError(f"--teacher {teacher}; allowed: {', '.join(paths)}")
        rows, count = compare(args.data, paths, teacher, args.split, args.batch_size, args.rounds)
    except ValueError as error:
        sys.exit(f"compare: {error}")

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
    plot_quality(
        rows,
        teacher,
        metric,
        MEASURES[metric][0],
        args.title,
        os.path.join(args.out, "compare.png"),
    )


if __name__ == "__main__":
    main()
