"""Results of a study arranged by arm, cell and seed, for tables and figures."""

from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from .result_line import GOLD, RECIPE, changes_of, headlines
from .results import Result
from .statistics import Pooled, pooled_difference

# In the order of tables and legends.
ARMS = ("FT", "KD", "KD-alone", "SM", "TMKD", "SM+TMKD", "KD+TMKD", "KD+SM+TMKD", "FM")
SPLIT_NAMES = {"valid": "MNLI-m", "valid1": "MNLI-mm"}


class Column(NamedTuple):
    """What stands in one column of a table, or in one panel of a figure."""

    task: str
    fraction: float
    split: str
    metric: str

    @property
    def task_name(self) -> str:
        return SPLIT_NAMES[self.split] if self.task == "MNLI" else self.task

    @property
    def name(self) -> str:
        return f"{self.task_name}, {100 * self.fraction:g}%"


class Group(NamedTuple):
    """Runs to be compared with each other."""

    student: str
    results: List[Result]


Seeds = Dict[int, float]
Table = Dict[str, Dict[Column, Seeds]]  # by label of the arm
# From the measures of each split, at one point of a run; None where they lack it.
Measure = Callable[[Mapping[str, Any], Column], Optional[float]]


def groups(results: Iterable[Result]) -> List[Group]:
    """Runs of the same student, without ablations."""
    found: Dict[str, List[Result]] = {}
    for result in results:
        if result.run.variant == RECIPE:
            found.setdefault(result.run.student, []).append(result)
    return [Group(student, found[student]) for student in found]


def base_of(results: Sequence[Result], student: str) -> List[Result]:
    """What ablations of a student are compared with."""
    return [r for r in results if r.run.student == student and r.run.variant == RECIPE]


def ablations(results: Iterable[Result]) -> Dict[str, Dict[str, Dict[str, List[Result]]]]:
    """Results of variants by student, key and value, numbers ascending."""
    found: Dict[str, Dict[str, Dict[str, List[Result]]]] = {}
    for result in results:
        changes = changes_of(result.run.variant)
        if changes:
            key, value = ", ".join(changes), ", ".join(changes.values())
            values = found.setdefault(result.run.student, {}).setdefault(key, {})
            values.setdefault(value, []).append(result)
    for keys in found.values():
        for key, values in keys.items():
            if numbers(values):
                keys[key] = {value: values[value] for value in sorted(values, key=float)}
    return found


def numbers(values: Iterable[str]) -> Optional[List[float]]:
    """The values as numbers, if they all are."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def columns(results: Sequence[Result]) -> List[Column]:
    """Tasks as they come, fractions ascending, MNLI's two splits side by side."""
    tasks = list(dict.fromkeys(result.run.task for result in results))
    cells = {(result.run.task, result.run.fraction) for result in results}
    found = []
    for task, fraction in sorted(cells, key=lambda cell: (tasks.index(cell[0]), cell[1])):
        inside = [r.record["metrics"] for r in results if r.run[:2] == (task, fraction)]
        everywhere = [m for m in headlines(task) if all(m in one["valid"] for one in inside)]
        metric = (everywhere or headlines(task))[0]
        found.append(Column(task, fraction, "valid", metric))
        if task == "MNLI" and any(metric in metrics.get("valid1", {}) for metrics in inside):
            found.append(Column(task, fraction, "valid1", metric))
    return found


def labels(results: Iterable[Result]) -> List[str]:
    """The arms' labels: known arms in the order of ARMS, then others as they come."""
    runs = list({result.run.label: result.run for result in results}.values())
    arms = list(dict.fromkeys([*ARMS, *(run.arm for run in runs)]))
    runs.sort(key=lambda run: (arms.index(run.arm), run.data != GOLD))
    return [run.label for run in runs]


def headline(metrics: Mapping[str, Any], column: Column) -> Optional[float]:
    return metrics.get(column.split, {}).get(column.metric)


def value_of(key: str) -> Measure:
    """A measure of the column's split."""
    return lambda metrics, column: metrics.get(column.split, {}).get(key)


def gap_of(key: str) -> Measure:
    """A risk on held-out examples minus that on the training part."""

    def measure(metrics: Mapping[str, Any], column: Column) -> Optional[float]:
        held_out = metrics.get(column.split, {}).get(key)
        trained = metrics.get("train", {}).get(key)
        return None if held_out is None or trained is None else held_out - trained

    return measure


def of_distilled(results: Sequence[Result]) -> List[Result]:
    """Without runs that never asked a teacher: they were not to be near it."""
    return [result for result in results if result.record.get("teacher_queries") != 0]


def tabulate(results: Sequence[Result], wanted: Sequence[Column], measure: Measure) -> Table:
    """A measure at the end of every run, by label, column and seed; nothing where there is none."""
    table: Table = {}
    for label in labels(results):
        for column in wanted:
            seeds = {}
            for run, record in results:
                if run.label == label and run[:2] == column[:2]:
                    value = measure(record["metrics"], column)
                    if value is not None:
                        seeds[run.seed] = value
            if seeds:
                table.setdefault(label, {})[column] = seeds
    return table


def tabulate_teacher(
    results: Sequence[Result], wanted: Sequence[Column], measure: Measure
) -> Dict[Column, Seeds]:
    """The same of the teachers that the runs had, by column and seed of the run."""
    table: Dict[Column, Seeds] = {}
    for column in wanted:
        for run, record in results:
            if "teacher" in record and run[:2] == column[:2]:
                value = measure(record["teacher"]["metrics"], column)
                if value is not None:
                    table.setdefault(column, {})[run.seed] = value
    return table


def pooled_against(
    table: Mapping[str, Dict[Column, Seeds]], base: str, others: Sequence[str]
) -> List[Optional[Pooled]]:
    """The difference of each of the others to an arm over all cells; none where there is one."""
    if len({column[:2] for row in table.values() for column in row}) < 2:
        return []
    cells = {label: mean_over_splits(row) for label, row in table.items()}
    return [pooled_difference(cells[other], cells[base]) for other in others]


def mean_over_splits(table: Dict[Column, Seeds]) -> Dict[Any, Seeds]:
    """One arm's values by (task, fraction): MNLI counts once, as in GLUE's average."""
    cells: Dict[Any, Dict[int, List[float]]] = {}
    for column, seeds in table.items():
        for seed, value in seeds.items():
            cells.setdefault(column[:2], {}).setdefault(seed, []).append(value)
    return {
        cell: {seed: sum(values) / len(values) for seed, values in seeds.items()}
        for cell, seeds in cells.items()
    }


def tabulate_curves(
    results: Sequence[Result], wanted: Sequence[Column], measure: Measure
) -> Dict[str, Dict[Column, Dict[float, Seeds]]]:
    """A measure during training, by label, column, updates and seed; points that all seeds have."""
    curves: Dict[str, Dict[Column, Dict[float, Seeds]]] = {}
    for label in labels(results):
        for column in wanted:
            points: Dict[float, Seeds] = {}
            seeds = set()
            for run, record in results:
                if run.label == label and run[:2] == column[:2]:
                    for point in record.get("curve", []):
                        value = measure(point, column)
                        if value is not None:
                            points.setdefault(point["updates"], {})[run.seed] = value
                            seeds.add(run.seed)
            complete = {now: points[now] for now in sorted(points) if set(points[now]) == seeds}
            if complete:
                curves.setdefault(label, {})[column] = complete
    return curves
