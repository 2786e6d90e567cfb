"""The work of `serving-report`: what a teacher and its students cost in each format.

In each round all models compute the same texts, so that other load slows all equally. Tokenising is
not timed.
"""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from fairseq.models.roberta import RobertaModel

from ..evaluation import QUALITY, Rows, evaluation
from ..export.export import export, open_export
from ..export.formats import FORMATS
from ..plots import pyplot
from ..scoring import Batch, Loaded
from ..sizes import size_of
from ..timing import Logits, seconds_in_turns

FAIRSEQ = "fairseq"
SINGLE_TEXTS, WARM_TEXTS = 200, 10  # timed one by one, after the warm-up
MEASURES = {
    **QUALITY,
    "parameters": ("parameters", "{:,}"),
    "megabytes": ("MB of weights", "{:.1f}"),
    "p50": ("latency p50, ms", "{:.1f}"),
    "p95": ("p95, ms", "{:.1f}"),
    "sentences_per_second": ("texts a second", "{:.0f}"),
}


def serving_report(
    data: str,
    paths: Mapping[str, str],
    teacher: str,
    tokenizer: str,
    out: str,
    formats: Sequence[str],
    teacher_tokenizer: str | None = None,
    **options,
) -> tuple[Rows, int]:
    """{"NAME, FORMAT": measures}, and the number of labelled texts.

    Args:
        teacher_tokenizer: the teacher's, if it has another vocabulary
        options: those of :func:`evaluation`

    Raises:
        ValueError: if a checkpoint cannot be used or exported, or two read data differently.
    """
    ours, labels = evaluation(data, paths, teacher, **options), options.get("labels")
    unknown = [one.path for one in ours.loaded.values() if one.names is not None and not one.names]
    if labels and unknown and {*formats} - {FAIRSEQ}:  # an export has the outputs of the file
        raise ValueError(
            f"--formats must be {FAIRSEQ} with --labels for {unknown[0]}, whose classes are not "
            f"known, got {','.join(formats)}: encode the data with --labels={labels}, and leave "
            "the flag out here"
        )
    tokenizers = {**dict.fromkeys(paths, tokenizer), teacher: teacher_tokenizer or tokenizer}
    models, sizes, about = {}, {}, {}
    for name in paths:
        for form in formats:
            print(f"{name}: {form}", flush=True)
            folder, label = os.path.join(out, "exports", name, form), f"{name}, {form}"
            try:
                models[label], sizes[label] = serve(
                    form, ours.loaded[name], tokenizers[name], folder
                )
            except ValueError as error:
                raise ValueError(f"{label}: {error}; --formats leaves a format out") from error
            about[label] = {"name": name, "format": form}
    name_of = {label: one["name"] for label, one in about.items()}
    texts = {name: singles(batches) for name, batches in ours.batches.items()}
    warm = min(WARM_TEXTS, len(texts[teacher]))
    work = {label: [[t] for t in texts[n][:warm] + texts[n]] for label, n in name_of.items()}
    seconds = seconds_in_turns(models, work)
    rows = ours.measure(models, name_of)
    for label, row in rows.items():
        milliseconds = 1000 * np.array(seconds[label][warm:])
        p50, p95 = np.percentile(milliseconds, [50, 95], method="inverted_cdf")
        parameters = parameters_of(ours.loaded[name_of[label]])
        row.update(parameters=parameters, megabytes=sizes[label], p50=p50, p95=p95, **about[label])
    return rows, len(ours.targets)


def serve(form: str, loaded: Loaded, tokenizer: str, folder: str) -> tuple[Logits, float]:
    """A checkpoint in a format, and the megabytes of its weights."""
    if form == FAIRSEQ:
        return loaded.logits, size_of(loaded.path)["bytes"] / 1e6
    head = loaded.task.cfg.classification_head_name
    # int8 loses something, which the report measures; other formats must be equal
    bounds = {"tolerance": math.inf, "min_agreement": -1} if form == "onnx-int8" else {}
    export(loaded.path, folder, form, tokenizer, loaded.data, force=True, head=head, **bounds)
    opened = open_export(folder, form, loaded, tokenizer)
    size = FORMATS[form].megabytes(folder)
    return lambda batch: opened(batch["net_input"]["src_tokens"]), size


def parameters_of(loaded: Loaded) -> int:
    served = [loaded.model]
    if isinstance(loaded.model, RobertaModel):  # without its language-model head
        head = loaded.task.cfg.classification_head_name
        served = [loaded.model.encoder.sentence_encoder, loaded.model.classification_heads[head]]
    return sum(p.numel() for module in served for p in module.parameters())


def singles(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of one text without padding, evenly spread over the data folder."""
    rows = {}
    for batch in batches:
        texts = batch["net_input"]
        for number, tokens, length in zip(batch["id"], texts["src_tokens"], texts["src_lengths"]):
            rows[int(number)] = tokens[None, : int(length)]
    step = max(1, len(rows) // SINGLE_TEXTS)
    chosen = sorted(rows)[step // 2 :: step][:SINGLE_TEXTS]
    return [{"net_input": {"src_tokens": rows[number]}} for number in chosen]


def plot_serving(rows: Rows, path: str) -> None:
    """Bars of quality, latency, throughput and size of each format."""
    metric = next(iter(next(iter(rows.values()))))
    panels = {
        metric: (MEASURES[metric][0], "{:.1f}"),
        "p50": ("latency of one text, ms\n(bar: p50, line: to p95)", "{:.1f}"),
        "sentences_per_second": ("texts a second", "{:.0f}"),
        "megabytes": ("MB of weights", "{:.0f}"),
    }
    names = list(dict.fromkeys(row["name"] for row in rows.values()))
    colors = [f"C{names.index(row['name'])}" for row in rows.values()]
    figure, axes = pyplot().subplots(1, len(panels), sharey=True, layout="constrained",
                                     figsize=(11.6, 0.3 * len(rows) + 1.5))  # fmt: skip
    for axis, (key, (title, form)) in zip(axes, panels.items()):
        values = [row[key] for row in rows.values()]
        ends = [row["p95"] if key == "p50" else row[key] for row in rows.values()]
        up = [max(0, end - value) for value, end in zip(values, ends)]
        bars = axis.barh(list(rows), values, color=colors, xerr=[[0] * len(up), up])
        axis.bar_label(bars, [form.format(value) for value in values], padding=3, fontsize=8)
        axis.set_title(title)
        axis.margins(x=0.3)
        axis.grid(False, axis="y")
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=200)
    pyplot().close(figure)
