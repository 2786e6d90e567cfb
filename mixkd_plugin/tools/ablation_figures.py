"""The figures of a report about what variants change: settings, and mixes per example."""

from typing import Dict, Sequence

from .figure_style import line, looks, panels, save, wide
from .figures import GAPS, in_report, label_y, metric_name
from .results import Result
from .statistics import summarize
from .tables import (
    Column,
    Measure,
    ablations,
    base_of,
    columns,
    headline,
    labels,
    numbers,
    tabulate,
)


def mixes(results: Sequence[Result], student: str, out: str, stem: str) -> str:
    """The gaps at the end against mixes per example, where an arm has several numbers of them."""
    base, changed = base_of(results, student), ablations(results).get(student, {})
    chosen = list(base.results) if base else []
    for variants in changed.get("mixup-ratio", {}).values():
        chosen += variants
    counts = sorted(
        {r.record["mixes_per_example"] for r in chosen if "mixes_per_example" in r.record}
    )
    by_count = {n: [r for r in chosen if r.record.get("mixes_per_example") == n] for n in counts}
    several = [label for label in labels(chosen)
               if sum(label in labels(part) for part in by_count.values()) > 1]  # fmt: skip
    if not several:
        return ""
    wanted = [c for c in columns(chosen) if _final_gaps(by_count, several, c, GAPS[0][1])]
    if not wanted:
        return ""
    shown = looks(labels(chosen))
    figure, axes = panels(2 * len(wanted), 2, width=3.2, height=1.9)
    for i, column in enumerate(wanted):
        for one, (name, measure) in zip(axes[2 * i :], GAPS):
            for label, points in _final_gaps(by_count, list(shown), column, measure).items():
                line(one, points, shown[label])
            one.set_xticks(counts)
            one.set_title(column.name)
            one.set_ylabel(name)
    figure.supxlabel("mixes per example", fontsize=10)
    return in_report(
        save(figure, out, f"mixes{stem}", shown),
        "Held-out minus training risk at the end of training against mixes per example: mean over "
        "seeds; bars are ± one standard error.",
    )


def _final_gaps(by_count, wanted: Sequence[str], column: Column, measure: Measure):
    """{label: {mixes per example: gaps by seed}}"""
    found: Dict[str, Dict[int, Dict[int, float]]] = {}
    for count, part in by_count.items():
        for label, row in tabulate(part, [column], measure).items():
            if label in wanted:
                found.setdefault(label, {})[count] = row[column]
    return found


def ablation(results: Sequence[Result], student: str, key: str, out: str, stem: str) -> str:
    values = ablations(results)[student][key]
    base = base_of(results, student)
    changed = [result for variants in values.values() for result in variants]
    wanted = columns(changed)
    plain = tabulate(base.results, wanted, headline) if base else {}
    tables = [tabulate(variants, wanted, headline) for variants in values.values()]
    xs = numbers(values)
    positions = xs or list(range(len(values)))
    shown = looks(labels(changed))
    across = wide(len(wanted))
    figure, axes = panels(len(wanted), across)
    for one, column in zip(axes, wanted):
        for label, look in shown.items():
            points = {x: table[label][column] for x, table in zip(positions, tables)
                      if column in table.get(label, {})}  # fmt: skip
            if points:
                line(one, points, look if xs else look._replace(linestyle="none"))
            if column in plain.get(label, {}):
                mean = summarize(plain[label][column].values()).mean
                one.axhline(mean, color=look.color, linestyle=":", linewidth=1.3)
        _scale_x(one, positions, list(values))
        one.set_title(column.name)
    label_y(axes, [metric_name(column) for column in wanted], across)
    figure.supxlabel(key, fontsize=10)
    dotted = f"; dotted lines: `{base.variant}`, of the same colour" if base else ""
    return in_report(
        save(figure, out, f"ablation_{key}{stem}", shown),
        f"Quality at the end of training for values of `{key}`: mean over seeds; bars are ± one "
        f"standard error{dotted}.",
    )


def _scale_x(axes, positions: Sequence[float], names: Sequence[str]) -> None:
    """Numbers that span much on a logarithmic axis; a tick at each value."""
    if min(positions) > 0 and max(positions) >= 8 * min(positions):
        axes.set_xscale("log")
    axes.set_xticks(positions, names)
    axes.minorticks_off()
    axes.margins(x=0.12)
