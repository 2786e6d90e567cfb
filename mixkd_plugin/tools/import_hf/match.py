"""Names of a classifier's outputs, from labelled texts."""

from functools import partial

from ..cli import named
from ..export.texts import spread
from ..labels import ASKED, Matched, match_labels, read_outputs
from ..predict.predict import count_predictions
from ..texts.columns import find_columns
from ..texts.examples import Targets, find_classes, read_examples
from ..texts.reading import read_table
from .source import find_source


def match_table(
    source: str, dev: str, text: str | None, label: str | None, given: str | None
) -> Matched:
    """The label of each output of the classifier SOURCE, by its names or its predictions.

    Args:
        dev: a table of labelled texts
        text, label: names of its columns (default: found by name)
        given: the value of --labels

    Raises:
        ValueError: where it is not clear.
    """
    with named("SOURCE", source):
        folder = find_source(source)
        names, regression, multi_label, _ = read_outputs(folder)
    if regression or multi_label:
        raise ValueError(f"--dev must be given for one class for each text alone, got {dev}")
    with named("--dev", dev):
        table = read_table(dev, find_columns(dev, text, label), skip_bad_lines=True)
        classes = find_classes(table)
        examples = read_examples(table, Targets(classes), skip_missing=True)
        confusion = partial(count_predictions, folder, spread(examples, ASKED), classes)
    bad = table.bad + len(table.lines) - len(examples)
    left_out = [f"{bad} lines of {dev} without a label or a field are left out"] if bad else []
    order, notes = match_labels(classes, names, given, confusion, "--labels without --dev")
    return Matched([ours or theirs for ours, theirs in zip(order, names)], left_out + notes)
