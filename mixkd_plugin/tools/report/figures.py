"""The figures of a report: each draws a PNG file and returns it as Markdown with its caption.

An empty text, and no file, where the results have nothing to draw.
"""

from typing import Any, Dict, List, Sequence

from .figure_style import TEACHER_LINE, apart, line, looks, panels, save, ticks_at, wide
from .sections import METRICS, baseline_label
from .statistics import CONFIDENCE, paired_difference, summarize
from .tables import (
    Column,
    Group,
    columns,
    headline,
    pooled_against,
    tabulate,
    tabulate_curves,
    tabulate_teacher,
)

WHAT_ALL_IS = "`all` is the mean over tasks and fractions, of arms that have as many as any. "


def in_report(file: str, caption: str) -> str:
    return f"![{file[:-4]}]({file})\n\n*{caption}*\n"


def metric_name(column: Column) -> str:
    short = {"acc_and_f1": "accuracy and F1", "pearson_and_spearman": "correlation"}
    return f"{short.get(column.metric, METRICS.get(column.metric, column.metric))}, %"


def name_axes(figure, axes: Sequence, across: int, x: str, texts: Sequence[str]) -> None:
    """Name x once, and y at the first panel of each row and where another quantity begins."""
    figure.supxlabel(x, fontsize=10)
    for i, (one, text) in enumerate(zip(axes, texts)):
        if i % across == 0 or text != texts[i - 1]:
            one.set_ylabel(text)


def learning_curves(group: Group, out: str, stem: str) -> str:
    curves = tabulate_curves(group.results, columns(group.results), headline)
    wanted = [c for c in columns(group.results) if any(c in row for row in curves.values())]
    if not wanted:
        return ""
    across = wide(len(wanted))
    figure, axes = panels(len(wanted), across)
    shown = looks(list(curves))
    for one, column in zip(axes, wanted):
        for label, row in curves.items():
            if column in row:
                line(one, row[column], shown[label], band=True)
        one.set_title(column.name)
    name_axes(figure, axes, across, "updates", [metric_name(column) for column in wanted])
    return in_report(
        save(figure, out, f"learning_curves{stem}", shown),
        "Quality on the development set during training: mean over seeds; bands are ± one "
        "standard error, with the luck of a seed that all arms share: what sets arms apart is in "
        "the paired differences.",
    )


def fractions(group: Group, out: str, stem: str) -> str:
    wanted = columns(group.results)
    table = tabulate(group.results, wanted, headline)
    teacher = tabulate_teacher(group.results, wanted, headline)
    lines: Dict[Any, List[Column]] = {}
    for column in wanted:
        lines.setdefault((column.task, column.split), []).append(column)
    drawn = [found for found in lines.values() if len(found) > 1]
    if not drawn:
        return ""
    across = wide(len(drawn))
    figure, axes = panels(len(drawn), across)
    shown = looks(list(table))
    for one, found in zip(axes, drawn):
        ticks = [100 * c.fraction for c in found]
        ticks_at(one, ticks, log=True)
        for i, (label, row) in enumerate(table.items()):
            move = apart(i, len(table), ticks, log=True)
            points = {move(100 * c.fraction): row[c] for c in found if c in row}
            line(one, points, shown[label])
        known = [c for c in found if c in teacher]
        one.plot([100 * c.fraction for c in known],
                 [summarize(teacher[c].values()).mean for c in known], **TEACHER_LINE)  # fmt: skip
        one.set_title(found[0].task_name)
    name_axes(
        figure,
        axes,
        across,
        "part of the training set, %",
        [metric_name(found[0]) for found in drawn],
    )
    return in_report(
        save(figure, out, f"fractions{stem}", shown, teacher=bool(teacher)),
        "Quality at the end of training against the part of the training set: mean over seeds; "
        "bars are ± one standard error, moved sideways a little where they would hide each other.",
    )


def differences(group: Group, baseline: str, out: str, stem: str) -> str:
    wanted = columns(group.results)
    table = tabulate(group.results, wanted, headline)
    base = baseline_label(baseline, list(table))
    others = [label for label in table if label != base]
    if base is None or not others:
        return ""
    found = {
        c.name: [paired_difference(table[o].get(c, {}), table[base].get(c, {})) for o in others]
        for c in wanted
    }
    pooled = pooled_against(table, base, others)
    if pooled:
        most = max((p.cells for p in pooled if p), default=0)
        found["all"] = [p.difference if p and p.cells == most else None for p in pooled]
    across = wide(len(found))
    figure, axes = panels(len(found), across, height=0.75 + 0.22 * len(others))
    shown = looks(list(table))
    for i, (one, (name, row)) in enumerate(zip(axes, found.items())):
        one.axvline(0, color="0.35", linewidth=1)
        for y, (label, difference) in enumerate(zip(others, row)):
            if difference is not None:
                _interval(one, y, difference, shown[label])
        one.set_ylim(len(others) - 0.4, -0.6)
        one.set_yticks(range(len(others)), others if i % across == 0 else [""] * len(others))
        one.tick_params(axis="y", length=0)
        one.grid(axis="y", visible=False)
        one.set_title(name, fontweight="bold" if name == "all" else None)
    figure.supxlabel(f"difference to {base}, points", fontsize=10)
    return in_report(
        save(figure, out, f"differences{stem}", {}),
        f"Difference to {base} over the seeds that both have: mean and {100 * CONFIDENCE:g}% "
        "Student-t interval; a hollow marker is a single seed, which has no interval. "
        f"{WHAT_ALL_IS if 'all' in found else ''}Each panel has its own scale.",
    )


def _interval(axes, y: int, difference, look) -> None:
    if difference.low is not None:
        axes.plot([difference.low, difference.high], [y, y], color=look.color, linewidth=1.8,
                  linestyle=look.linestyle, solid_capstyle="butt")  # fmt: skip
    fill = "white" if difference.low is None else look.color
    axes.plot([difference.mean], [y], marker=look.marker, color=look.color, markerfacecolor=fill,
              markersize=6)  # fmt: skip
