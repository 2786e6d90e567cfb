"""The figures of a report about what variants change: settings, and mixes per example."""

from typing import Dict, Sequence

from .figure_style import apart, line, looks, panels, save, wide
from .figures import GAP_AXES, GAPS, gap_columns, in_report, metric_name, name_axes
from .results import RECIPE, Result
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
    chosen = list(base)
    for variants in changed.get("mixup-ratio", {}).values():
        chosen += variants
    counts = sorted(
        {r.record["mixes_per_example"] for r in chosen if "mixes_per_example" in r.record}
    )
    by_count = {n: [r for r in chosen if r.record.get("mixes_per_example") == n] for n in counts}
    wanted = [
        column
        for column in columns(chosen)
        if any(len(row) > 1 for row in _final_gaps(by_count, column, GAPS[0][1]).values())
    ]
    if not wanted:
        return ""
    shown = looks(labels(chosen))
    across = gap_columns(len(wanted))
    figure, axes = panels(2 * len(wanted), across, height=2.2)
    for i, column in enumerate(wanted):
        for one, (name, measure) in zip(axes[2 * i :], GAPS):
            for label, points in _final_gaps(by_count, column, measure).items():
                line(one, points, shown[label])
            one.set_xticks(counts)
            one.set_title(f"{column.name}\n{name}")
    name_axes(figure, axes, across, "mixes per example", GAP_AXES * len(wanted))
    return in_report(
        save(figure, out, f"mixes{stem}", shown),
        "Held-out minus training risk at the end of training against mixes per example: mean over "
        "seeds; bars are ± one standard error.",
    )


def _final_gaps(by_count, column: Column, measure: Measure):
    """{label: {mixes per example: gaps by seed}}"""
    found: Dict[str, Dict[int, Dict[int, float]]] = {}
    for count, part in by_count.items():
        for label, row in tabulate(part, [column], measure).items():
            found.setdefault(label, {})[count] = row[column]
    return found


def ablation(results: Sequence[Result], student: str, key: str, out: str, stem: str) -> str:
    """Quality against a setting's value; the base variant as lines, or as one more category."""
    values = ablations(results)[student][key]
    base = base_of(results, student)
    changed = [result for variants in values.values() for result in variants]
    wanted = columns(changed)
    plain = tabulate(base, wanted, headline)
    steps = {value: tabulate(variants, wanted, headline) for value, variants in values.items()}
    positions = numbers(values)
    ordered = positions is not None
    if not ordered:
        steps = {**({RECIPE: plain} if base else {}), **steps}
        positions = list(range(len(steps)))
    shown = looks(labels(changed))
    across = wide(len(wanted))
    figure, axes = panels(len(wanted), across)
    for one, column in zip(axes, wanted):
        log = ordered and _spans_much(positions)
        one.set_xscale("log" if log else "linear")
        one.set_xticks(positions, list(steps))
        one.minorticks_off()
        one.margins(x=0.12)
        low, high = min(positions), max(positions)
        span = 5 if not ordered else high / low if log else high - low
        for i, (label, look) in enumerate(shown.items()):
            move = apart(i, len(shown), span, log)
            points = {move(x): table[label][column] for x, table in zip(positions, steps.values())
                      if column in table.get(label, {})}  # fmt: skip
            line(one, points, look if ordered else look._replace(linestyle="none"))
            if ordered and column in plain.get(label, {}):
                mean = summarize(plain[label][column].values()).mean
                one.axhline(mean, color=look.color, linestyle=":", linewidth=1.3)
        one.set_title(column.name)
    name_axes(figure, axes, across, key, [metric_name(column) for column in wanted])
    dotted = f"; dotted lines: `{RECIPE}`, in the arms' colours" if base and ordered else ""
    return in_report(
        save(figure, out, f"ablation_{key}{stem}", shown),
        f"Quality at the end of training for values of `{key}`: mean over seeds; bars are ± one "
        f"standard error{dotted}.",
    )


def _spans_much(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and max(numbers) >= 8 * min(numbers)
