"""The sections of a report as Markdown; an empty text without results for one."""

import contextlib
from collections.abc import Sequence

import pandas as pd

from ..results import RECIPE, TEACHER, Result, Results
from .tables import (
    ABSENT,
    CALIBRATION,
    CONSTANT,
    F1,
    OF_TEACHER,
    at_the_end,
    cells,
    difference_cells,
    difference_texts,
    first_known,
    labels,
    markdown,
    means,
    not_learned,
    pairs_with,
    pooled_by_arm,
    summary_cell,
    teacher_cells,
)

METRICS = {
    "mcc": "MCC",
    "acc_and_f1": "mean of accuracy and F1",
    "pearson_and_spearman": "mean of Pearson and Spearman",
}
HOW_PAIRED = (
    "Over the seeds that both arms have: mean difference in points [95% Student-t interval over "
    "seeds, if they differ], seeds won / seeds. ▲ ▼: its p-value is below 5% with Holm's "
    "correction over the table (intervals have none; `all` has its own)."
)
HOW_POOLED = (
    " `all`: each seed's mean over tasks and fractions (MNLI's two splits count as one), the same "
    "cells for every seed and both arms."
)
MODEL = ("layers", "parameters", "bytes", "sentences_per_second")


def quality(table: pd.DataFrame) -> str:
    """Mean and deviation of the task's metric, the best mean in bold, the teacher first."""
    tasks = table.drop_duplicates(["metric", "task"]).groupby("metric", sort=False)["task"]
    measured = (f"{METRICS.get(metric, metric)} ({', '.join(its)})" for metric, its in tasks)
    mean, text = means(table), cells(at_the_end(table), ["label"])
    text = text.where(mean != mean.max(), "**" + text + "**")
    text = pd.concat([teacher_cells(table), text])
    return (
        f"### Quality\n\nIn percent, on the development set: {'; '.join(measured)}. Mean ± sample "
        f"standard deviation (seeds); best mean in bold.\n\n{_by_arm(text, mean.columns)}\n"
    )


def f1(table: pd.DataFrame) -> str:
    """F1 of the tasks that have accuracy as their metric, and F1 as well."""
    found = at_the_end(table, F1)
    if found.empty:
        return ""
    text = cells(found, ["label"])
    return (
        "### F1\n\nIn percent: macro F1; of the classes 0 and 1, that of 1. Mean ± sample standard "
        f"deviation (seeds).\n\n{_by_arm(text, text.columns)}\n"
    )


def _by_arm(table: pd.DataFrame, columns: Sequence[str]) -> str:
    return markdown(table.reindex(columns=columns), "arm")


def baseline_label(baseline: str, found: Sequence[str]) -> str | None:
    """The label of a baseline's arm: on GLUE's labels, or else on its other data."""
    if baseline in found:
        return baseline
    return next((label for label in found if label.startswith(f"{baseline}, ")), None)


def pairs_with_baseline(table: pd.DataFrame, baseline: str) -> tuple[str | None, pd.DataFrame]:
    """The baseline's label, and the last values of other runs with the baseline's of the seed."""
    table = at_the_end(table)
    base = baseline_label(baseline, sorted(table["label"].unique()))
    return base, pairs_with(table[table["label"] != base], table[table["label"] == base])


def differences(table: pd.DataFrame, baseline: str) -> str:
    """Every other arm against one, in every cell and pooled."""
    base, pairs = pairs_with_baseline(table, baseline)
    wanted = cells(at_the_end(table), ["label"])
    others = [label for label in wanted.index if label != base]
    if base is None or not others:
        return ""
    text = difference_cells(pairs, ["label"]).reindex(index=others, columns=wanted.columns)
    legend, of_arms = HOW_PAIRED, pooled_by_arm(pairs)
    if len(table.groupby(["task", "fraction"])) > 1:
        legend += HOW_POOLED + _left_out(table)
        texts = difference_texts(seeds for seeds, _ in of_arms.values())
        for (label, (_, count)), one in zip(of_arms.items(), texts):
            text.loc[label, "all"] = f"{one}, {count} cell{'s' * (count > 1)}"
    return f"### Difference to {base}\n\n{legend}\n\n{markdown(text.T, 'cell')}\n"


def _left_out(table: pd.DataFrame) -> str:
    """The cells that are not in the pooled differences, with the reason."""
    cells = [
        f"{cell} ({row[OF_TEACHER]:.1f} and {row[CONSTANT]:.1f})"
        for cell, row in not_learned(table).iterrows()
    ]
    if not cells:
        return ""
    return (
        " It leaves out cells whose teacher is less than 5 points (or half of what is left to 100) "
        f"above the best answer that is the same for all texts: {', '.join(cells)}."
    )


def retained(table: pd.DataFrame) -> str:
    """The students' means as a share of those of their own teachers."""
    students = means(table)
    teachers = means(table, OF_TEACHER).reindex_like(students)
    share = (100 * students / teachers.where(teachers > 0)).dropna(axis=1, how="all").astype(float)
    if share.empty:
        return ""
    text = _by_arm(share.map("{:.1f}".format, na_action="ignore"), share.columns)
    heading = "### Share of the teacher's quality\n\nMean of the students, % of the teacher's."
    return f"{heading}\n\n{text}\n"


def costs(student: str, runs: Sequence[Result], results: Results) -> str:
    """Size and speed of student and teacher; length of training and its teacher queries."""
    rows = []
    for task in dict.fromkeys(run.task for run, _ in runs):
        records = [record for run, record in runs if run.task == task]
        speeds = [s for s in results.speeds if (s["task"], s["student"]) == (task, student)]
        of_teacher = [{key.removeprefix("teacher_"): s[key] for key in s if TEACHER in key}
                      for s in speeds]  # fmt: skip
        of_teacher += [record["teacher"] for record in records if "teacher" in record]
        of_teacher += [record for run, record in results.teachers if run.task == task]
        small, large = first_known([*speeds, *records], MODEL), first_known(of_teacher, MODEL)
        rows.append([task, TEACHER, *(_size(key, large[key]) for key in MODEL)])
        shares = small / large.where(large != 0)
        rows.append([task, student, *(
            _size(key, small[key]) + ("" if pd.isna(shares[key]) else f" ({shares[key]:.2f})")
            for key in MODEL
        )])  # fmt: skip
    header = ["task", "model", "layers", "parameters", "MB", "sentences a second"]
    return (
        "### Costs\n\nMB: parameters in the type of the file. In brackets: the "
        f"student's share of the teacher's.\n\n{markdown(pd.DataFrame(rows, columns=header))}\n\n"
        "Examples in the training part, updates, and sequences with teacher logits, by "
        f"arm:\n\n{_training(runs)}\n"
    )


def _size(key: str, value: float) -> str:
    if pd.isna(value):
        return ABSENT
    return f"{value / 1e6:.1f}" if key == "bytes" else f"{value:,.0f}"


def _training(runs: Sequence[Result]) -> str:
    keys = ["examples", "updates", "teacher_queries"]
    table = pd.DataFrame([[*run[:2], run.label, *map(record.get, keys)] for run, record in runs],
                         columns=["task", "fraction", "label", *keys])  # fmt: skip
    table["task"] = pd.Categorical(table["task"], list(dict.fromkeys(table["task"])))
    by_cell = table.groupby(["task", "fraction"], observed=True)[keys[:2]].agg(_range)
    by_arm = table.groupby(["task", "fraction", "label"], observed=True)[keys[2]].agg(_range)
    text = by_cell.join(by_arm.unstack("label")[labels(runs)])
    text.index = [f"{task}, {100 * fraction:g}%" for task, fraction in text.index]
    return markdown(text, "cell")


def _range(values: pd.Series) -> str:
    """The single value, or the range from the least to the largest."""
    known = sorted(set(values.dropna()))
    return "–".join(f"{v:,.0f}" for v in dict.fromkeys([*known[:1], *known[-1:]])) or ABSENT


def gaps(table: pd.DataFrame) -> str:
    """Held-out minus training risk, and calibration, at the end of training."""
    parts = []
    columns = cells(at_the_end(table), ["label"]).columns
    for heading, measure, digits in (
        ("Label loss, held-out minus training, bits", "label loss", 3),
        ("Teacher distance, held-out minus training", "teacher distance", 3),
        ("Expected calibration error, held-out, %", CALIBRATION, 1),
    ):
        found = at_the_end(table, measure)
        if len(found):
            text = cells(found, ["label"], lambda values, d=digits: summary_cell(values, d))
            parts.append(f"{heading}:\n\n{_by_arm(text, [c for c in columns if c in text])}\n")
    if not parts:
        return ""
    return (
        "### Generalisation gap\n\nAt the end of training, both in evaluation mode: mean ± sample "
        "standard deviation (seeds). Losses as logged: divided by ln 2, squared errors too.\n\n"
        + "\n".join(parts)
    )


def ablation(changed: pd.DataFrame, recipe: pd.DataFrame, baseline: str | None = None) -> str:
    """Results of each value of a setting, compared with the recipe and with a baseline."""
    setting, student = changed[["setting", "student"]].iloc[0]
    table = with_recipe(changed, recipe)
    rows = ["label", "value_of_setting"]
    ends = at_the_end(table)
    new, old = (ends[(ends["variant"] == RECIPE) == is_old] for is_old in (False, True))
    text = cells(ends, rows)
    against = difference_cells(pairs_with(new, old, ["label", "cell"]), rows)
    text += ("; " + against).reindex_like(text).astype(object).fillna("")
    teachers = teacher_cells(table, rows[1:])
    if (teachers.nunique() > 1).any():  # else it is equal for all values
        text = pd.concat([teachers, text])
    report = (
        f"### `{setting}`, student {student}\n\nMean ± sample standard deviation (seeds); then the "
        f"difference to `{RECIPE}`, as above: mean [95% interval], seeds won / seeds.\n\n"
        f"{markdown(text, 'arm', setting)}\n"
    )
    others, base = new[new["label"] != baseline], new[new["label"] == baseline]
    beside = difference_cells(pairs_with(others, base, ["value_of_setting", "cell"]), rows)
    if len(beside):
        report += f"\nDifference to {baseline} with the same `{setting}`:\n\n"
        report += f"{markdown(beside, 'arm', setting)}\n"
    return report


def with_recipe(changed: pd.DataFrame, recipe: pd.DataFrame) -> pd.DataFrame:
    """Runs of a setting's values, numbers ascending, and before them the recipe's of their arms."""
    values = list(dict.fromkeys(changed["value_of_setting"]))
    with contextlib.suppress(ValueError):  # text keeps its order
        values.sort(key=float)
    alike = recipe["cell"].isin(changed["cell"]) & recipe["label"].isin(changed["label"])
    table = pd.concat([recipe[alike], changed])
    table["value_of_setting"] = pd.Categorical(table["value_of_setting"], [RECIPE, *values])
    return table


def failures(failed: Sequence[Result]) -> str:
    """Every run without a result, and the end of its error."""
    if not failed:
        return ""
    table = pd.DataFrame([run for run, _ in failed])
    last = [" ".join(record["error"].split()).replace("|", "\\|") for _, record in failed]
    table["error"] = [text if len(text) <= 200 else f"…{text[-200:]}" for text in last]
    table["fraction"] = table["fraction"].map("{:g}".format)
    return f"## Failures\n\nRuns that have no result.\n\n{markdown(table)}\n"
