"""The plot of a comparison: quality against speed."""

from typing import Dict, List

from ..report.figure_style import pyplot


def plot_quality(
    rows: Dict[str, Dict[str, float]],
    teacher: str,
    metric: str,
    metric_heading: str,
    title: str,
    path: str,
) -> None:
    """One labelled point a model, the teacher's quality as a line.

    Raises:
        ValueError: where matplotlib is not installed.
    """
    plt = pyplot()
    xs = [row["sentences_per_second"] for row in rows.values()]
    ys = [row[metric] for row in rows.values()]
    margin = 0.2 * max(max(ys) - min(ys), 4.0)
    low, high, right = min(ys) - margin, max(ys) + margin, 1.65 * max(xs)
    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=150)
    axes.axhline(rows[teacher][metric], color="0.6", linestyle="--", linewidth=1)
    heights = spread(ys, gap=0.09 * (high - low))
    for i, (name, row) in enumerate(rows.items()):
        color = "0.25" if name == teacher else plt.get_cmap("tab10")(i)
        axes.scatter(xs[i], ys[i], s=70, color=color, zorder=3)
        axes.annotate(
            f"{name}  {row[metric]:.1f}  ({row['megabytes']:.0f} MB)",
            xy=(xs[i], ys[i]),
            xytext=(xs[i] + 0.05 * right, heights[i]),
            va="center",
            color=color,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            arrowprops={"arrowstyle": "-", "color": color, "relpos": (0, 0.5), "shrinkB": 4},
        )
    axes.set_xlim(0, right)
    axes.set_ylim(min([low, *heights]), max([high, *heights]))
    axes.set_xlabel("sentences a second on this CPU (more is better)")
    axes.set_ylabel(metric_heading)
    axes.set_title(title)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def spread(heights: List[float], gap: float) -> List[float]:
    """Positions close to ``heights``, in their order, at least ``gap`` apart."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    for _ in range(1000):  # neighbours that are too close push each other apart
        moved = False
        for below, above in zip(order, order[1:]):
            lack = gap - (placed[above] - placed[below])
            if lack > 1e-6 * gap:
                placed[below] -= lack / 2
                placed[above] += lack / 2
                moved = True
        if not moved:
            break
    return placed
