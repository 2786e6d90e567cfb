"""Compare trained checkpoints on one data folder: their measures, and a plot."""

from collections.abc import Mapping

from ..evaluation import QUALITY, Rows, evaluation
from ..plots import pyplot
from ..sizes import count_layers, size_of

MEASURES = {
    **QUALITY,
    "layers": ("layers", "{}"),
    "parameters": ("parameters", "{:,}"),
    "megabytes": ("MB of weights", "{:.1f}"),
    "sentences_per_second": ("sentences a second", "{:.0f}"),
}


def compare(data: str, paths: Mapping[str, str], teacher: str, **options) -> tuple[Rows, int]:
    """{name: measures} of checkpoints {name: path}, and the number of examples.

    ``options`` and errors are those of :func:`evaluation`.
    """
    ours = evaluation(data, paths, teacher, **options)
    models = {name: one.logits for name, one in ours.loaded.items()}
    rows = ours.measure(models, name_of={name: name for name in paths})
    for name, one in ours.loaded.items():
        rows[name].update(
            layers=count_layers(one.model.state_dict()),
            parameters=sum(p.numel() for p in one.model.parameters()),
            megabytes=size_of(one.path)["bytes"] / 1e6,
        )
    return rows, sum(len(batch["id"]) for batch in ours.batches[teacher])


X_AXES = {
    "sentences_per_second": "sentences a second on this CPU (more is better)",
    "p50": "latency of one text on this CPU, ms (less is better)",
}


def plot_quality(
    rows: Rows, teacher: str, title: str, path: str, x: str = "sentences_per_second"
) -> None:
    """Quality against speed, a point for each model, the teacher's quality as a line.

    Args:
        x: the measure of speed, of X_AXES

    Raises:
        ValueError: where matplotlib is not installed.
    """
    metric = next(iter(rows[teacher]))
    figure, axes = pyplot().subplots(figsize=(8, 4.8), layout="constrained")
    axes.axhline(rows[teacher][metric], color="0.6", linestyle="--", linewidth=1)
    for name, row in rows.items():
        label = f"{name}  {row[metric]:.1f}  ({row['megabytes']:.0f} MB)"
        axes.scatter(row[x], row[metric], s=70, label=label, zorder=3)
    axes.set_xlim(left=0)
    axes.set(xlabel=X_AXES[x], ylabel=MEASURES[metric][0], title=title)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    pyplot().close(figure)
