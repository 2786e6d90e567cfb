"""The figures of a report about what variants change, one for each setting."""

from typing import Sequence

from .figure_style import apart, line, looks, panels, save, ticks_at, wide
from .figures import in_report, metric_name, name_axes
from .result_line import RECIPE
from .results import Result
from .statistics import summarize
from .tables import ablations, base_of, columns, headline, labels, numbers, tabulate


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
        ticks_at(one, positions, log, list(steps))
        one.margins(x=0.12)
        for i, (label, look) in enumerate(shown.items()):
            move = apart(i, len(shown), positions if ordered else [0, 5], log)
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
