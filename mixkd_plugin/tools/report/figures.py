"""The figures of a report: each draws a PNG file and returns it as Markdown with its caption.

Without results to draw it writes no file and returns an empty text.
"""

import os
import re

import pandas as pd
import seaborn as sns

from ..plots import pyplot
from .sections import pairs_with_baseline, with_recipe
from .tables import (
    GAPS,
    RECIPE,
    TEACHER,
    at_the_end,
    during,
    paired_difference,
    pooled_by_arm,
    teachers,
)

MARKERS = "osD^vPX*p<>h"  # distinguish the arms like their colours
BARS = "mean over seeds; bars are ± one standard error, shifted sideways"
BANDS = "mean over seeds; bands are ± one standard error"
PART = "part of the training set, %"


def styles(points: pd.DataFrame) -> dict[str, dict]:
    """Colour and marker of every label, the same in all figures of a student."""
    labels = list(points["label"].cat.categories)
    colors = sns.color_palette("tab10", len(labels))
    return {
        "palette": dict(zip(labels, colors)),
        "markers": dict(zip(labels, MARKERS * len(labels))),
    }


def n_cols(count: int) -> int:
    """Number of columns of panels: few, so that text stays legible in a paper."""
    return count if count <= 2 else 2 if count == 4 else 3


def learning_curves(table: pd.DataFrame, out: str, stem: str) -> str:
    return _lines(
        during(table).assign(x=lambda rows: rows["updates"], panel=lambda rows: rows["cell"]),
        ("updates", "quality, %"), out, f"learning_curves{stem}",
        f"Quality on the development set during training: {BANDS}, which include the "
        "variance of seeds that all arms share: for comparisons see the paired differences.",
    )  # fmt: skip


def fractions(table: pd.DataFrame, out: str, stem: str) -> str:
    ends = pd.concat([at_the_end(table), teachers(table)])
    ends = ends.assign(x=100 * ends["fraction"])
    ends["label"] = pd.Categorical(ends["label"], [*table["label"].cat.categories, TEACHER])
    return _lines(
        _with_lines(ends.assign(panel=ends["task_name"])), (PART, "quality, %"), out,
        f"fractions{stem}",
        f"Quality at the end of training against the part of the training set: {BARS}.",
        log=True,
    )  # fmt: skip


def gaps(table: pd.DataFrame, out: str, stem: str) -> str:
    """The gaps during training."""
    points = pd.concat([during(table, measure) for measure in GAPS])
    return _lines(
        _gap_panels(points.assign(x=points["updates"], panel=points["cell"])),
        ("updates", "gap"), out, f"gap{stem}",
        f"Held-out minus training risk during training, both in evaluation mode: {BANDS}. The "
        "label loss is in bits, the teacher distance as logged.",
    )  # fmt: skip


def gaps_by_fraction(table: pd.DataFrame, out: str, stem: str) -> str:
    """The gaps at the end against the part of the training set."""
    ends = _gaps_at_the_end(table)
    points = _with_lines(ends.assign(x=100 * ends["fraction"], panel=ends["task_name"]))
    return _lines(
        _gap_panels(points), (PART, "gap"), out, f"gap_fractions{stem}",
        "Held-out minus training risk at the end of training against the part of the training set: "
        f"{BARS}.", log=True,
    )  # fmt: skip


def gaps_by_mixes(table: pd.DataFrame, out: str, stem: str) -> str:
    """The gaps at the end against mixes per example: of the recipe, and of other mixup ratios."""
    ends = _gaps_at_the_end(table[table["setting"].isin(["", "mixup-ratio"])])
    points = _with_lines(ends.dropna(subset="mixes").assign(x=ends["mixes"], panel=ends["cell"]))
    return _lines(
        _gap_panels(points), ("mixes per example", "gap"), out, f"mixes{stem}",
        f"Held-out minus training risk at the end of training against mixes per example: {BARS}.",
    )  # fmt: skip


def differences(table: pd.DataFrame, baseline: str, out: str, stem: str) -> str:
    base, pairs = pairs_with_baseline(table, baseline)
    if pairs.empty:
        return ""
    panels, of_arms = [pairs.assign(panel=pairs["cell"].astype(str))], pooled_by_arm(pairs)
    if of_arms and len(pairs.groupby(["task", "fraction"])) > 1:
        most = max(count for _, count in of_arms.values())
        panels += [seeds.reset_index().assign(label=label, panel="all")
                   for label, (seeds, count) in of_arms.items() if count == most]  # fmt: skip
    points = pd.concat(panels)
    points["difference"] = points["value"] - points["value_base"]
    points["label"] = pd.Categorical(points["label"], pairs["label"].cat.categories)
    points["panel"] = pd.Categorical(points["panel"], [*pairs["cell"].cat.categories, "all"])
    what_all_is = "`all` is the mean over tasks and fractions, of arms with the most cells. "
    return _categories(
        points, "difference", "label", (f"difference to {base}, points", ""), out,
        f"differences{stem}",
        f"Difference to {base} over the seeds that both have: mean and 95% Student-t interval, "
        "if there are two seeds or more. "
        f"{what_all_is if len(panels) > 1 else ''}Each panel has its own scale.",
        errorbar=_interval,
    )  # fmt: skip


def _interval(differences) -> tuple[float, float]:
    found = paired_difference(differences, 0 * differences)
    return found.low, found.high


def ablation(changed: pd.DataFrame, recipe: pd.DataFrame, out: str, stem: str) -> str:
    """Quality against a setting's value, the recipe's first."""
    setting = changed["setting"].iloc[0]
    ends = at_the_end(with_recipe(changed, recipe))
    ends = ends.assign(value_of_setting=ends["value_of_setting"].cat.remove_unused_categories())
    return _categories(
        ends.assign(panel=ends["cell"]), "value_of_setting", "value", (setting, "quality, %"), out,
        f"ablation_{setting}{stem}",
        f"Quality at the end of training for values of `{setting}` (`{RECIPE}`: the unchanged "
        "one): mean over seeds; bars are ± one standard error.",
    )  # fmt: skip


# --- drawing ---


def _gaps_at_the_end(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([at_the_end(table, measure) for measure in GAPS])


def _gap_panels(points: pd.DataFrame) -> pd.DataFrame:
    """Two panels for every cell."""
    cells = [panel for panel in _in_order(points["panel"]) for _ in GAPS]
    names = [f"{cell}\n{gap}" for cell, gap in zip(cells, [*GAPS] * len(cells))]
    panels = points["panel"].astype(str) + "\n" + points["measure"]
    return points.assign(panel=pd.Categorical(panels, names).remove_unused_categories())


def _with_lines(points: pd.DataFrame) -> pd.DataFrame:
    """Panels in which a line has several points."""
    by_line = points.groupby(["panel", "label"], observed=True)["x"].nunique()
    several = by_line[by_line > 1].index.get_level_values("panel")
    return points[points["panel"].isin(several)]


def _in_order(values: pd.Series) -> list[str]:
    """The categories that occur, or the values in their order."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return list(values.cat.remove_unused_categories().cat.categories)
    return list(values.unique())


def _lines(
    points: pd.DataFrame, axes: tuple[str, str], out: str, name: str, caption: str, log=False
) -> str:
    """Means over seeds against x; with shifted error bars, or for updates with bands."""
    if points.empty:
        return ""
    labels, band = _in_order(points["label"]), axes[0] == "updates"
    xs = sorted(set(points["x"]))
    if not band:
        step = points["label"].astype(str).map(labels.index) - (len(labels) - 1) / 2
        factor, width = (xs[-1] / xs[0] if log else 1) ** (0.013 * step), 0.013 * step
        x = points["x"] * factor if log else points["x"] + width * (xs[-1] - xs[0])
        points = points.assign(x=x)
    panels = _in_order(points["panel"])
    grid = sns.relplot(
        points.reset_index(drop=True), x="x", y="value", col="panel", col_order=panels,
        col_wrap=4 if "gap" in name or "mixes" in name else n_cols(len(panels)),
        hue="label", style="label", hue_order=labels, style_order=labels, kind="line",
        errorbar="se", err_style="band" if band else "bars", height=2.1, aspect=1.3,
        facet_kws={"sharex": band, "sharey": False}, dashes=False, **styles(points),
    )  # fmt: skip
    if not band:
        grid.set(**({"xscale": "log"} if log else {}))
        grid.set(xticks=xs, xticklabels=[f"{x:g}" for x in xs])
        for one in grid.axes.flat:
            one.minorticks_off()
    return _save(grid, axes, out, name, caption)


def _categories(
    points: pd.DataFrame, x: str, y: str, axes: tuple[str, str], out: str, name: str, caption: str,
    errorbar="se",
) -> str:  # fmt: skip
    """Means over seeds of each category."""
    labels, panels = _in_order(points["label"]), _in_order(points["panel"])
    style = styles(points)
    grid = sns.catplot(
        points.assign(label=points["label"].astype(str)).reset_index(drop=True), x=x, y=y,
        col="panel", col_order=panels, col_wrap=n_cols(len(panels)), hue="label",
        hue_order=labels, kind="point", order=labels if y == "label" else None,
        markers=[style["markers"][label] for label in labels], palette=style["palette"],
        linestyle="none", errorbar=errorbar, capsize=0.08,
        dodge=0.4 if y == "value" and len(labels) > 1 else False,
        height=0.75 + 0.22 * len(labels) if y == "label" else 2.4, aspect=1.3, sharex=y != "label",
        sharey=y == "label", legend=y != "label", err_kws={"linewidth": 1.3},
    )  # fmt: skip
    if y == "label":
        grid.refline(x=0, color="0.35", linestyle="-")
    return _save(grid, axes, out, name, caption)


def _save(grid: sns.FacetGrid, axes: tuple[str, str], out: str, name: str, caption: str) -> str:
    grid.set_titles("{col_name}")
    grid.set_axis_labels(*axes)
    if grid.legend is not None:
        count = len(grid.legend.texts)
        sns.move_legend(grid, "lower center", bbox_to_anchor=(0.5, 1), ncol=min(count, 6),
                        title=None, frameon=False)  # fmt: skip
    file = re.sub(r"[^\w.+-]+", "_", name) + ".png"
    grid.savefig(os.path.join(out, file), dpi=150)
    pyplot().close(grid.figure)
    return f"![{file[:-4]}]({file})\n\n*{caption}*\n"
