"""Reading and checking the labels of a split.

An example without a gold label has the class symbol ``<unk>``, or ``nan`` for each regression
target. fairseq makes the former of any symbol that the label dictionary does not know, a typing
error too: so neither is taken for "no label" unless ``unlabelled`` says that it may be.
"""

import logging
import os
from typing import Dict, Optional

import numpy as np
from fairseq.data import Dictionary, data_utils
from fairseq.data.indexed_dataset import MMapIndexedDataset

logger = logging.getLogger(__name__)

NO_CLASS = -1  # fairseq's target for <unk>
_HINT = "; only training examples may have none, with --unlabelled-examples allow"


def read_class_labels(
    data: str, split: str, dictionary, num_classes: int, combine: bool, unlabelled: bool
) -> np.ndarray:
    """Class of every example of a split, (n,), each checked; :data:`NO_CLASS` without a label.

    Raises:
        ValueError: where labels are missing, more than one, or not among the classes.
    """
    path = os.path.join(data, "label", split)
    labels = data_utils.load_indexed_dataset(path, dictionary, combine=combine)
    if labels is None:
        raise ValueError(f"no labels for split {split!r}: {path}.bin and .idx do not exist")
    bad = np.flatnonzero(np.asarray(labels.sizes) != 2)  # the label and the end-of-line symbol
    if len(bad):
        raise ValueError(
            f"{path}: example {bad[0]} has {labels.sizes[bad[0]] - 1} labels instead of one "
            f"({len(bad)} such examples)"
        )
    symbols = _first_symbols(labels)
    classes = symbols - dictionary.nspecial
    known = (classes >= 0) & (classes < num_classes)
    bad = np.flatnonzero(~(known | (unlabelled & (symbols == dictionary.unk()))))
    if len(bad):
        symbol = symbols[bad[0]]
        raise ValueError(
            f"{path}: example {bad[0]} has the label {dictionary[symbol]!r}, which is not among "
            f"the first {num_classes} (--num-classes) symbols of {data}/label/dict.txt"
            f"{_HINT if symbol == dictionary.unk() else ''}"
        )
    return classes


def _first_symbols(labels) -> np.ndarray:
    """The label of every example, (n,), each followed by an end-of-line symbol."""
    parts = getattr(labels, "datasets", [labels])  # of several files, where they are combined
    if all(isinstance(part, MMapIndexedDataset) for part in parts):  # one by one takes seconds
        flat = [np.frombuffer(part._bin_buffer, part._index.dtype, 2 * len(part)) for part in parts]
        return np.concatenate(flat)[::2].astype(np.int64)
    return np.fromiter((labels[i][0] for i in range(len(labels))), np.int64, len(labels))


def read_regression_targets(
    data: str, split: str, num_targets: int, unlabelled: bool
) -> np.ndarray:
    """Targets of every example of a split, (n, num_targets), each checked; nan without a label.

    Raises:
        ValueError: where the file is missing, or a line has another number of values than
            ``--num-classes``, or one that is not a finite number.
    """
    path = os.path.join(data, "label", f"{split}.label")
    if not os.path.exists(path):
        raise ValueError(f"no labels for split {split!r}: {path} does not exist")
    targets = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                values = [float(v) for v in line.split()]
            except ValueError:
                values = []
            none = bool(values) and bool(np.isnan(values).all())
            if len(values) != num_targets or not (
                np.isfinite(values).all() or (none and unlabelled)
            ):
                raise ValueError(
                    f"{path}, line {number}: {line.strip()!r} is not {num_targets} finite number"
                    f"{'s' if num_targets > 1 else ''} (--num-classes {num_targets})"
                    f"{_HINT if none else ''}"
                )
            targets.append(values)
    return np.array(targets).reshape(-1, num_targets)


def read_targets(
    data: str,
    split: str,
    labels: Optional[Dictionary],
    num_classes: int,
    combine: bool,
    unlabelled: bool = False,
) -> np.ndarray:
    """Class of each example, (n,), or its targets, (n, num_classes), where ``labels`` is None.

    Checks both. Where ``unlabelled`` allows examples without a label, those have :data:`NO_CLASS`,
    or nan.
    """
    if labels is not None:
        return read_class_labels(data, split, labels, num_classes, combine, unlabelled)
    return read_regression_targets(data, split, num_classes, unlabelled)


def strata_of(targets: np.ndarray) -> np.ndarray:
    """Class of each example, (n,), or 0 for regression; :data:`NO_CLASS` without a label."""
    if targets.ndim == 1:
        return targets
    return np.where(np.isnan(targets).any(axis=1), NO_CLASS, 0)


def check_some_labelled(strata: np.ndarray, weights: Dict[str, float]) -> None:
    """Log how many of the training examples have a label.

    Raises:
        ValueError: where none has, and a term of the labels has a weight above 0.
    """
    labelled = int((strata != NO_CLASS).sum())
    logger.info("%d of %d training examples have a gold label", labelled, len(strata))
    terms = [f"--{t}-weight {weights[t]:g}" for t in ("mle", "sm") if weights.get(t, 0) > 0]
    if labelled == 0 and terms:
        raise ValueError(
            f"{' and '.join(terms)}: allowed is 0, because no training example has a gold label "
            "(--unlabelled-examples allow)"
        )
