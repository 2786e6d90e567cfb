"""Results as a table, as a plot and against recorded ones."""

import json
from typing import Dict, Iterator, Tuple

from mixkd_plugin.tools.plots import pyplot


def read_recorded(path: str, shape: str, lengths: str) -> dict:
    """Results of an earlier run of the same kind."""
    try:
        with open(path, encoding="utf-8") as f:
            recorded = json.load(f)
    except (OSError, ValueError) as error:
        raise SystemExit(f"--compare {path}: {error}") from error
    kind = (recorded["settings"]["shape"], recorded["settings"]["lengths"])
    if kind != (shape, lengths):
        raise SystemExit(
            f"--compare {path}: of --shape {kind[0]} --lengths {kind[1]}, not {shape} {lengths}"
        )
    return recorded


def table(results: dict) -> str:
    """Markdown: one table for steps, one for epochs, one for the ratios between arms."""
    machine, settings, tokens = results["machine"], results["settings"], results["tokens"]
    lines = [
        f"{settings['shape']}, lengths of {settings['lengths']} (mean {tokens['mean']:.1f}, "
        f"longest {tokens['longest']} tokens), batches of {settings['batch_size']}; "
        f"{machine['device']}, {machine['threads']} thread(s), torch {machine['torch']}."
    ]
    if "padding" in tokens:
        lines[0] += f" {100 * tokens['padding']:.0f}% of the steps' random batches is padding."
    for stage, unit in (("step", "ms a step"), ("epoch", "s an epoch")):
        rows = results.get(stage)
        if not rows:
            continue
        memory = any(row["megabytes"] is not None for row in rows.values())
        head = ["arm", "what", unit, f"/ fine-tuning {stage}", "least to most"]
        head += ["peak MB"] if memory else []
        lines += ["", _line(head), _line(["---"] * len(head))]
        for name, row in rows.items():
            seconds = f"{1000 * row['seconds']:.1f}" if stage == "step" else f"{row['seconds']:.2f}"
            median, low, high = row["ratio"]
            cells = [name, row["what"], seconds, f"{median:.2f}", f"{low:.2f} to {high:.2f}"]
            if memory:
                cells += ["" if row["megabytes"] is None else f"{row['megabytes']:.0f}"]
            lines.append(_line(cells))
    if results["ratios"]:
        lines += ["", _line(["ratio", "median", "least to most"]), _line(["---"] * 3)]
        for label, (median, low, high) in results["ratios"].items():
            lines.append(_line([label, f"{median:.3f}", f"{low:.3f} to {high:.3f}"]))
    return "\n".join(lines) + "\n"


def comparison(results: dict, recorded: dict) -> str:
    """Each ratio now, as recorded, and one over the other."""
    now, then = dict(_ratios(results)), dict(_ratios(recorded))
    lines = [_line(["row", "recorded", "now", "now / recorded"]), _line(["---"] * 4)]
    for label in now:
        if label in then:
            change = f"{now[label] / then[label]:.2f}"
            lines.append(_line([label, f"{then[label]:.3f}", f"{now[label]:.3f}", change]))
    return "\n".join(lines)


def _ratios(results: dict) -> Iterator[Tuple[str, float]]:
    for stage in ("step", "epoch"):
        for name, row in results.get(stage, {}).items():
            yield name, row["ratio"][0]
    for label, (median, _, _) in results["ratios"].items():
        yield label, median


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def plot(results: Dict, path: str) -> None:
    """Bars of every arm's ratio to fine-tuning, with least and most as whiskers."""
    plt = pyplot()
    stages = [stage for stage in ("step", "epoch") if results.get(stage)]
    counts = [len(results[stage]) for stage in stages]
    figure, panels = plt.subplots(
        len(stages),
        figsize=(9, 1.2 * len(stages) + 0.34 * sum(counts)),
        height_ratios=counts,
        squeeze=False,
        dpi=150,
    )
    for stage, axes in zip(stages, panels[:, 0]):
        rows = list(results[stage].values())[::-1]
        medians = [row["ratio"][0] for row in rows]
        spread = [
            [m - row["ratio"][1] for m, row in zip(medians, rows)],
            [row["ratio"][2] - m for m, row in zip(medians, rows)],
        ]
        colors = ["0.6" if m == 1 else "tab:blue" for m in medians]
        axes.barh([row["what"] for row in rows], medians, color=colors, xerr=spread, ecolor="0.4")
        for place, row in enumerate(rows):
            axes.text(row["ratio"][2], place, f"  {row['ratio'][0]:.2f}", va="center")
        axes.set_xlim(0, 1.1 * max(row["ratio"][2] for row in rows))
        axes.axvline(1, color="0.3", linewidth=1, linestyle="--")
        axes.set_xlabel(f"time of a training {stage}, fairseq's fine-tuning = 1 (less is better)")
    settings, machine = results["settings"], results["machine"]
    figure.suptitle(
        f"{settings['shape']} shapes, lengths of {settings['lengths']}, batches of "
        f"{settings['batch_size']}, {machine['device']}"
    )
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
