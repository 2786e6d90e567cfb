"""Results in a long table, a row for each value of a run, and the cells of a report.

Columns of the table: the run's names; ``label`` of the arm; ``cell``, a task and a part of its
training set; ``learned``: its teacher is better than a constant answer; ``setting`` and
``value_of_setting`` of a variant; ``metric``, which is the quality; ``updates`` (NaN: at the end);
``measure`` and its ``value``. An absent value has no row; a diverged one is NaN.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ...scores import least_learned
from ..results import GOLD, RECIPE, TEACHER, Result, changes_of, headlines

# In the order of tables and legends.
ARMS = ("FT", "KD", "KD-alone", "SM", "TMKD", "SM+TMKD", "KD+TMKD", "KD+SM+TMKD", "TMKD-only")
SPLITS = {"MNLI": {"valid": "MNLI-m", "valid1": "MNLI-mm"}}  # and their names; else valid
QUALITY, OF_TEACHER, CALIBRATION, F1 = "quality", "quality of the teacher", "ece", "f1"
CONSTANT = "quality of the best constant answer"
GAPS = {"label loss": "loss", "teacher distance": "kd_loss"}  # held-out minus training
CONFIDENCE = 0.95
ABSENT = "–"
MEAN = partial(pd.Series.mean, skipna=False)  # nan if a run diverged


class Difference(NamedTuple):
    """Of two arms over their common seeds, with Student's t interval (NaN: no spread)."""

    mean: float
    low: float
    high: float
    n: int
    won: int  # seeds in which it is above zero
    p: float  # of the paired t-test


# --- the long table ---


def long_table(results: Sequence[Result]) -> pd.DataFrame:
    metrics = metrics_of(results)
    table = pd.DataFrame(
        [row for result in results for row in _rows(result, metrics[result.run[:2]])]
    )
    if table.empty:
        return table
    order = table.assign(task=pd.Categorical(table["task"], table["task"].unique()))
    cells = order.sort_values(["task", "fraction", "split"], kind="stable")["cell"].unique()
    table["cell"] = pd.Categorical(table["cell"], cells)
    table["label"] = pd.Categorical(table["label"], labels(results))
    bad = not_learned(table[table["variant"] == RECIPE])
    return table.assign(learned=~table["cell"].isin(bad.index))


def not_learned(table: pd.DataFrame) -> pd.DataFrame:
    """Cells whose teacher is below :func:`least_learned`, with the means of its quality and of the
    best constant answer's; a cell without them counts as learned."""
    keys = [OF_TEACHER, CONSTANT]
    both = table[table["measure"].isin(keys)].groupby(["cell", "measure"], observed=True)["value"]
    means = both.mean().unstack().reindex(columns=keys)
    return means[means[OF_TEACHER] < means[CONSTANT].map(least_learned)]


def metrics_of(results: Sequence[Result]) -> dict[tuple[str, float], str]:
    """For each task and fraction, the first of the task's metrics that all runs have."""
    there: dict[tuple[str, float], set[str]] = {}
    for run, record in results:
        keys = {key for key, value in record["metrics"]["valid"].items() if value is not None}
        there[run[:2]] = there.get(run[:2], keys) & keys
    return {
        cell: next((key for key in headlines(cell[0]) if key in keys), headlines(cell[0])[0])
        for cell, keys in there.items()
    }


def labels(results: Sequence[Result]) -> list[str]:
    """Known arms in the order of ARMS, then others in order of appearance."""
    runs = list({result.run.label: result.run for result in results}.values())
    arms = list(dict.fromkeys([*ARMS, *(run.arm for run in runs)]))
    return [run.label for run in sorted(runs, key=lambda r: (arms.index(r.arm), r.data != GOLD))]


def _rows(result: Result, metric: str) -> Iterator[dict[str, Any]]:
    run, record = result
    changes = changes_of(run.variant)
    names = {
        **run._asdict(),
        "label": run.label,
        "setting": ", ".join(changes),
        "value_of_setting": ", ".join(changes.values()) or RECIPE,
        "mixes": record.get("mixes_per_example"),
        "metric": metric,
    }
    points = [(np.nan, record["metrics"]), *((p["updates"], p) for p in record.get("curve", []))]
    for updates, measures in points:
        train = measures.get("train", {})
        for split, task in SPLITS.get(run.task, {"valid": run.task}).items():
            held_out = measures.get(split, {})
            values = {QUALITY: held_out.get(metric), CALIBRATION: held_out.get("ece")}
            values[F1] = held_out.get("f1") if metric == "accuracy" else None
            for gap, key in GAPS.items():
                both = held_out.get(key), train.get(key)
                values[gap] = None if None in both else both[0] - both[1]
            if record.get("teacher_queries") == 0:  # an arm without a teacher
                del values["teacher distance"]
            if np.isnan(updates):
                of_teacher = record.get("teacher", {"metrics": {}})["metrics"]
                values[OF_TEACHER] = of_teacher.get(split, {}).get(metric)
                values[CONSTANT] = record.get("constant", {}).get(split, {}).get(metric)
            of_split = {"split": split, "task_name": task, "updates": updates}
            of_split["cell"] = f"{task}, {100 * run.fraction:g}%"
            for measure, value in values.items():
                if value is not None:
                    yield {**names, **of_split, "measure": measure, "value": value}


def at_the_end(table: pd.DataFrame, measure: str = QUALITY) -> pd.DataFrame:
    return table[table["updates"].isna() & (table["measure"] == measure)]


def teachers(table: pd.DataFrame, rows: Sequence[str] = ()) -> pd.DataFrame:
    """The runs' teachers at the end, once for each seed, whose arms should share one."""
    one = at_the_end(table, OF_TEACHER).drop_duplicates([*rows, "cell", "seed"], keep="last")
    return one.assign(label=TEACHER)


def during(table: pd.DataFrame, measure: str = QUALITY) -> pd.DataFrame:
    """Points of the curves that all seeds have."""
    table = table[table["updates"].notna() & (table["measure"] == measure)]
    line = ["label", "cell"]
    there = table.groupby([*line, "updates"], observed=True)["seed"].transform("nunique")
    return table[there == table.groupby(line, observed=True)["seed"].transform("nunique")]


# --- statistics ---


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Ours minus theirs, of the same seeds."""
    differences = np.asarray(ours) - np.asarray(theirs)
    low = high = p = np.nan
    if len(differences) > 1 and not np.ptp(differences) < 1e-9:  # equal ones differ by rounding
        test = stats.ttest_rel(ours, theirs)
        (low, high), p = test.confidence_interval(CONFIDENCE), test.pvalue
    won = int((differences > 0).sum())
    return Difference(differences.mean(), low, high, len(differences), won, p)


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values of tests that are reported together (Holm 1979); NaN is no test."""
    p = np.asarray(p, float)
    order = np.argsort(p)  # NaN last
    factors = np.count_nonzero(~np.isnan(p)) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def pairs_with(
    table: pd.DataFrame, base: pd.DataFrame, by: Sequence[str] = ("cell",)
) -> pd.DataFrame:
    """Rows with the value of ``base``, in the same cell and of the same seed, as ``value_base``."""
    keys = [*by, "seed"]
    return table.merge(base[[*keys, "value"]], on=keys, suffixes=("", "_base"))


def pooled(pairs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Of one arm: each seed's means over the same tasks and fractions, and how many these are.

    MNLI's two splits count as one. Where some cells lack seeds, cells are left out, or seeds,
    whichever leaves more pairs.
    """
    keys = ["task", "fraction"]
    pairs = pairs.groupby([*keys, "seed"])[["value", "value_base"]].mean(skipna=False).reset_index()
    seeds = pairs.groupby(keys)["seed"].transform("size")
    best, count = pairs[:0], 0
    for least in sorted(seeds.unique()):
        some = pairs[seeds >= least]
        cells = some.groupby(keys).ngroups
        some = some[some.groupby("seed")["seed"].transform("size") == cells]
        if len(some) > len(best):
            best, count = some, cells
    return best.groupby("seed")[["value", "value_base"]].mean(skipna=False), count


def pooled_by_arm(pairs: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, int]]:
    """:func:`pooled` of each arm, over the cells whose teacher has learned the task."""
    of_arms = pairs[pairs["learned"]].groupby("label", observed=True)
    return {label: pooled(of) for label, of in of_arms}


# --- cells ---


def summary_cell(values: pd.Series, digits: int = 1) -> str:
    """Mean ± sample standard deviation (number of seeds)."""
    spread = f" ± {values.std(skipna=False):.{digits}f}" if len(values) > 1 else ""
    return f"{MEAN(values):.{digits}f}{spread} ({len(values)})"


def difference_texts(groups: Iterable[pd.DataFrame]) -> list[str]:
    """The difference of each group of pairs; marked if it is not chance, by :func:`holm`."""
    found = [paired_difference(pairs["value"], pairs["value_base"]) for pairs in groups]
    texts = []
    for (mean, low, high, n, won, _), p in zip(found, holm([one.p for one in found])):
        mark = "" if not p < 1 - CONFIDENCE else "▲ " if mean > 0 else "▼ "
        interval = "no interval" if np.isnan(low) else f"[{low:+.1f}, {high:+.1f}]"
        texts.append(f"{mark}{mean:+.1f} {interval}, {won}/{n}")
    return texts


def cells(table: pd.DataFrame, rows: Sequence[str], make: Any = summary_cell) -> pd.DataFrame:
    """One text for each of ``rows`` and each cell of the study, from the values of all seeds."""
    return _wide(table.groupby([*rows, "cell"], observed=True)["value"].agg(make))


def difference_cells(pairs: pd.DataFrame, rows: Sequence[str]) -> pd.DataFrame:
    if pairs.empty:
        return pd.DataFrame()
    groups = pairs.groupby([*rows, "cell"], observed=True)
    return _wide(pd.Series(difference_texts(of for _, of in groups), groups.size().index))


def teacher_cells(table: pd.DataFrame, rows: Sequence[str] = ()) -> pd.DataFrame:
    """Means over seeds of :func:`teachers`; none of one that diverged."""
    found = cells(teachers(table, rows), ["label", *rows], MEAN)
    return found.map("{:.1f}".format, na_action="ignore")


def means(table: pd.DataFrame, measure: str = QUALITY) -> pd.DataFrame:
    return cells(at_the_end(table, measure), ["label"], MEAN)


def _wide(values: pd.Series) -> pd.DataFrame:
    wide = values.unstack("cell")
    wide.columns = list(map(str, wide.columns))  # categories could not be extended
    return wide


def markdown(table: pd.DataFrame, *index: str) -> str:
    """The table with its index as first columns of these names."""
    table = table.astype(object).where(table.notna(), ABSENT)
    table = table.rename_axis([*index]).reset_index() if index else table
    return table.to_markdown(index=False, disable_numparse=True)


def first_known(records: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> pd.Series:
    """The first value of each key; NaN without one."""
    return pd.DataFrame([*records, {}], columns=list(keys), dtype=float).bfill().iloc[0]
