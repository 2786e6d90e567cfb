"""The sections of a report as Markdown; an empty text where the results have nothing for one."""

from typing import Dict, List, Mapping, Optional, Sequence

from .result_line import RECIPE
from .results import Result
from .statistics import Difference, Pooled, paired_difference, summarize
from .tables import (
    Column,
    Group,
    Seeds,
    ablations,
    base_of,
    columns,
    gap_of,
    headline,
    labels,
    of_distilled,
    pooled_against,
    tabulate,
    tabulate_teacher,
    value_of,
)

METRICS = {
    "mcc": "MCC",
    "acc_and_f1": "mean of accuracy and F1",
    "pearson_and_spearman": "mean of Pearson and Spearman",
}
ABSENT = "–"
HOW_PAIRED = (
    "Over the seeds that both arms have: mean difference in points [95% Student-t interval over "
    "seeds], seeds won / seeds. ▲ ▼: the interval excludes 0; of many such intervals about one in "
    "twenty does so by chance."
)
HOW_POOLED = (
    " `all`: each seed's mean over tasks and fractions (MNLI's two splits count as one), the same "
    "cells for every seed and both arms."
)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary_cell(seeds: Mapping[int, float], digits: int = 1) -> str:
    """Mean ± sample standard deviation (number of seeds)."""
    if not seeds:
        return ABSENT
    mean, sd, n = summarize(seeds.values())
    spread = "" if sd is None else f" ± {sd:.{digits}f}"
    return f"{mean:.{digits}f}{spread} ({n})"


def difference_cell(difference: Optional[Difference], digits: int = 1) -> str:
    if difference is None:
        return ABSENT
    mean, low, high, n, won = difference
    mark = ("▲ " if mean > 0 else "▼ ") if difference.excludes_zero else ""
    interval = "no interval" if low is None else f"[{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{mark}{mean:+.{digits}f} {interval}, {won}/{n}"


def quality(group: Group) -> str:
    """Mean and spread of the task's metric, the best mean in bold, the teacher on top."""
    wanted = columns(group.results)
    table = tabulate(group.results, wanted, headline)
    teacher = tabulate_teacher(group.results, wanted, headline)
    best = {c: max(_mean(row[c]) for row in table.values() if c in row) for c in wanted}
    rows = []
    if teacher:
        cells = [f"{_mean(teacher[c]):.1f}" if c in teacher else ABSENT for c in wanted]
        rows.append(["teacher", *cells])
    for label, row in table.items():
        cells = [summary_cell(row.get(c, {})) for c in wanted]
        bold = [c in row and _mean(row[c]) == best[c] for c in wanted]
        rows.append([label, *(f"**{x}**" if b else x for x, b in zip(cells, bold))])
    header = ["arm", *(c.name for c in wanted)]
    return (
        "### Quality\n\n"
        f"{_what_is_measured(wanted)} Mean ± sample standard deviation (seeds); best mean in bold."
        f"\n\n{markdown(header, rows)}\n"
    )


def _what_is_measured(wanted: Sequence[Column]) -> str:
    tasks: Dict[str, List[str]] = {}
    for column in wanted:
        names = tasks.setdefault(METRICS.get(column.metric, column.metric), [])
        if column.task not in names:
            names.append(column.task)
    parts = (f"{name} ({', '.join(names)})" for name, names in tasks.items())
    return "In percent, on the development set: " + "; ".join(parts) + "."


def _mean(seeds: Mapping[int, float]) -> float:
    return summarize(seeds.values()).mean


def baseline_label(baseline: str, found: Sequence[str]) -> Optional[str]:
    """The label of a baseline's arm: on labels, or else on the data it has."""
    if baseline in found:
        return baseline
    return next((label for label in found if label.startswith(f"{baseline}, ")), None)


def differences(group: Group, baseline: str) -> str:
    """Every other arm against one, in every cell and pooled."""
    wanted = columns(group.results)
    table = tabulate(group.results, wanted, headline)
    base = baseline_label(baseline, list(table))
    others = [label for label in table if label != base]
    if base is None or not others:
        return ""
    rows = []
    for column in wanted:
        pairs = (paired_difference(table[o].get(column, {}), table[base].get(column, {}))
                 for o in others)  # fmt: skip
        rows.append([column.name, *map(difference_cell, pairs)])
    legend = HOW_PAIRED
    pooled = pooled_against(table, base, others)
    if pooled:
        rows.append(["all", *map(_pooled_cell, pooled)])
        legend += HOW_POOLED
    return f"### Difference to {base}\n\n{legend}\n\n{markdown(['cell', *others], rows)}\n"


def _pooled_cell(pooled: Optional[Pooled]) -> str:
    if pooled is None:
        return ABSENT
    return f"{difference_cell(pooled.difference)}, {pooled.cells} cell{'s' * (pooled.cells > 1)}"


def retained(group: Group) -> str:
    """The students' means as a share of the teacher's."""
    wanted = columns(group.results)
    table = tabulate(group.results, wanted, headline)
    teacher = tabulate_teacher(group.results, wanted, headline)
    wanted = [c for c in wanted if c in teacher and _mean(teacher[c]) > 0]
    if not wanted:
        return ""

    def share(row: Mapping[Column, Seeds], column: Column) -> str:
        if column not in row:
            return ABSENT
        return f"{100 * _mean(row[column]) / _mean(teacher[column]):.1f}"

    rows = [[label, *(share(row, c) for c in wanted)] for label, row in table.items()]
    return (
        "### Share of the teacher's quality\n\nMean of the students, % of the teacher's.\n\n"
        f"{markdown(['arm', *(c.name for c in wanted)], rows)}\n"
    )


def gaps(group: Group) -> str:
    """Held-out minus training risk, and calibration, at the end of training."""
    parts = []
    everyone, distilled = group.results, of_distilled(group.results)
    for heading, results, measure, digits in (
        ("Label loss, held-out minus training, bits", everyone, gap_of("loss"), 3),
        ("Teacher distance, held-out minus training", distilled, gap_of("kd_loss"), 3),
        ("Expected calibration error, held-out, %", everyone, value_of("ece"), 1),
    ):
        wanted = columns(group.results)
        table = tabulate(results, wanted, measure)
        wanted = [c for c in wanted if any(c in row for row in table.values())]
        if wanted:
            rows = [
                [label, *(summary_cell(row.get(c, {}), digits) for c in wanted)]
                for label, row in table.items()
            ]
            header = ["arm", *(c.name for c in wanted)]
            parts.append(f"{heading}:\n\n{markdown(header, rows)}\n")
    if not parts:
        return ""
    return (
        "### Generalisation gap\n\nAt the end of training, both in evaluation mode: mean ± sample "
        "standard deviation (seeds). Losses as logged: divided by ln 2, squared errors too.\n\n"
        + "\n".join(parts)
    )


def ablation(
    results: Sequence[Result], student: str, key: str, baseline: Optional[str] = None
) -> str:
    """What each value of a setting gives, beside the recipe and beside a baseline with it."""
    values = ablations(results)[student][key]
    changed = [result for variants in values.values() for result in variants]
    wanted = columns(changed)
    base = base_of(results, student)
    plain = tabulate(base, wanted, headline)
    rows, beside = _teachers({RECIPE: base, **values}, wanted), []
    for label in labels(changed):
        if label in plain:
            cells = (summary_cell(plain[label].get(c, {})) for c in wanted)
            rows.append([label, RECIPE, *cells])
        for value, variants in values.items():
            table = tabulate(variants, wanted, headline)
            row, other = table.get(label), table.get(baseline or "")
            if row:
                cells = (_ablated(row.get(c), plain.get(label, {}).get(c, {})) for c in wanted)
                rows.append([label, value, *cells])
            if row and other and label != baseline:
                pairs = (paired_difference(row.get(c, {}), other.get(c, {})) for c in wanted)
                beside.append([label, value, *map(difference_cell, pairs)])
    header = ["arm", key, *(c.name for c in wanted)]
    text = (
        f"### `{key}`, student {student}\n\nMean ± sample standard deviation (seeds); then the "
        f"difference to `{RECIPE}`, as above: mean [95% interval], seeds won / seeds.\n\n"
        f"{markdown(header, rows)}\n"
    )
    if beside:
        text += f"\nDifference to {baseline} with the same `{key}`:\n\n{markdown(header, beside)}\n"
    return text


def _teachers(values: Mapping[str, Sequence[Result]], wanted: Sequence[Column]) -> List[List[str]]:
    """Rows of the teachers, where a value of the setting has other ones."""
    found = {value: tabulate_teacher(runs, wanted, headline) for value, runs in values.items()}
    rows = {
        value: [f"{_mean(table[c]):.1f}" if c in table else ABSENT for c in wanted]
        for value, table in found.items()
    }
    differ = any(len(set(cells) - {ABSENT}) > 1 for cells in zip(*rows.values()))
    return [["teacher", value, *cells] for value, cells in rows.items()] if differ else []


def _ablated(seeds: Optional[Seeds], base: Seeds) -> str:
    if seeds is None:
        return ABSENT
    difference = paired_difference(seeds, base)
    return summary_cell(seeds) + (f"; {difference_cell(difference)}" if difference else "")
