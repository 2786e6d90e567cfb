"""The figures of the generalisation gap, held-out minus training risk (the paper's theorem).

Against updates, the part of the training set and mixes per example; for the label loss and for the
distance to the teacher, each with a panel in every cell. As in figures.py, a text is empty where
there is nothing to draw.
"""

from typing import Callable, Dict, List, Mapping, Sequence, Tuple

from .figure_style import apart, line, looks, panels, save, ticks_at
from .figures import in_report, name_axes
from .results import Result
from .tables import (
    Column,
    Group,
    Seeds,
    ablations,
    base_of,
    columns,
    gap_of,
    labels,
    of_distilled,
    tabulate,
    tabulate_curves,
)

GAPS = {"label loss": gap_of("loss"), "teacher distance": gap_of("kd_loss")}
AXES = ("gap, bits", "gap, as logged")
BARS = (
    "mean over seeds; bars are ± one standard error, moved sideways a little where they would hide "
    "each other."
)
Lines = Dict[str, Dict[float, Seeds]]  # by label, against x
Cells = Mapping[str, Sequence[Lines]]  # by a panel's name, one for each of GAPS


def gaps(group: Group, out: str, stem: str) -> str:
    """The gaps in the course of training."""
    wanted = columns(group.results)
    curves = [
        tabulate_curves(results, wanted, measure) for measure, results in _measured(group.results)
    ]
    cells = {
        column.name: [
            {label: row[column] for label, row in table.items() if column in row}
            for table in curves
        ]
        for column in wanted
    }
    cells = {name: both for name, both in cells.items() if any(both)}
    return _draw(
        cells, labels(group.results), "updates", out, f"gap{stem}",
        "Held-out minus training risk during training, both in evaluation mode: mean over seeds; "
        "bands are ± one standard error.", band=True,
    )  # fmt: skip


def by_fraction(group: Group, out: str, stem: str) -> str:
    """The gaps at the end against the part of the training set."""
    points = [(100 * column.fraction, column, group.results) for column in columns(group.results)]
    cells = _at_the_end(points, lambda column: column.task_name)
    return _draw(
        cells, labels(group.results), "part of the training set, %", out, f"gap_fractions{stem}",
        f"Held-out minus training risk at the end of training against the part of the training "
        f"set: {BARS}", log=True,
    )  # fmt: skip


def mixes(results: Sequence[Result], student: str, out: str, stem: str) -> str:
    """The gaps at the end against mixes per example."""
    chosen = base_of(results, student)
    for variants in ablations(results).get(student, {}).get("mixup-ratio", {}).values():
        chosen += variants
    by_count: Dict[int, List[Result]] = {}
    for result in chosen:
        if "mixes_per_example" in result.record:
            by_count.setdefault(result.record["mixes_per_example"], []).append(result)
    points = [
        (count, column, by_count[count]) for column in columns(chosen) for count in sorted(by_count)
    ]
    return _draw(
        _at_the_end(points, lambda column: column.name), labels(chosen), "mixes per example", out,
        f"mixes{stem}",
        f"Held-out minus training risk at the end of training against mixes per example: {BARS}",
    )  # fmt: skip


def _measured(results: Sequence[Result]):
    """Each of GAPS, and the runs that have it."""
    return zip(GAPS.values(), (results, of_distilled(results)))


def _at_the_end(
    points: Sequence[Tuple[float, Column, Sequence[Result]]], name_of: Callable[[Column], str]
) -> Cells:
    """Gaps of runs in a column, each drawn at an x; panels where a line has several points."""
    cells: Dict[str, List[Lines]] = {}
    for x, column, results in points:
        both = cells.setdefault(name_of(column), [{} for _ in GAPS])
        for lines, (measure, measured) in zip(both, _measured(results)):
            for label, row in tabulate(measured, [column], measure).items():
                lines.setdefault(label, {})[x] = row[column]
    return {
        name: both
        for name, both in cells.items()
        if any(len(found) > 1 for lines in both for found in lines.values())
    }


def _draw(
    cells: Cells, arms: Sequence[str], x: str, out: str, file: str, caption: str,
    band: bool = False, log: bool = False,
) -> str:  # fmt: skip
    """Two panels in every cell, in a file of its own; nothing where there is no cell."""
    if not cells:
        return ""
    shown = looks(arms)
    across = 2 if len(cells) <= 4 else 4
    figure, axes = panels(len(GAPS) * len(cells), across, height=2.2)
    drawn = [
        (f"{name}\n{gap}", lines) for name, both in cells.items() for gap, lines in zip(GAPS, both)
    ]
    for one, (title, lines) in zip(axes, drawn):
        xs = sorted({x for points in lines.values() for x in points})
        if xs and not band:
            ticks_at(one, xs, log)
        for i, label in enumerate(label for label in shown if label in lines):
            points = lines[label]
            if not band:
                move = apart(i, len(lines), xs, log)
                points = {move(x): seeds for x, seeds in points.items()}
            line(one, points, shown[label], band)
        one.set_title(title)
    name_axes(figure, axes, across, x, AXES * len(cells))
    return in_report(save(figure, out, file, shown), caption)
