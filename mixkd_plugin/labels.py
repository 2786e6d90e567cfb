"""Reading and checking the labels of a split."""

import os
from typing import Optional

import numpy as np
from fairseq.data import Dictionary, data_utils
from fairseq.data.indexed_dataset import MMapIndexedDataset


def read_class_labels(
    data: str, split: str, dictionary, num_classes: int, combine: bool
) -> np.ndarray:
    """Class of every example of a split, (n,), each checked.

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
    bad = np.flatnonzero((classes < 0) | (classes >= num_classes))
    if len(bad):
        raise ValueError(
            f"{path}: example {bad[0]} has the label {dictionary[symbols[bad[0]]]!r}, which is not "
            f"among the first {num_classes} (--num-classes) symbols of {data}/label/dict.txt"
        )
    return classes


def _first_symbols(labels) -> np.ndarray:
    """The label of every example, (n,), each followed by an end-of-line symbol."""
    parts = getattr(labels, "datasets", [labels])  # of several files, where they are combined
    if all(isinstance(part, MMapIndexedDataset) for part in parts):  # one by one takes seconds
        flat = [np.frombuffer(part._bin_buffer, part._index.dtype, 2 * len(part)) for part in parts]
        return np.concatenate(flat)[::2].astype(np.int64)
    return np.fromiter((labels[i][0] for i in range(len(labels))), np.int64, len(labels))


def read_regression_targets(data: str, split: str, num_targets: int) -> np.ndarray:
    """Targets of every example of a split, (n, num_targets), each checked.

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
            if len(values) != num_targets or not np.isfinite(values).all():
                raise ValueError(
                    f"{path}, line {number}: {line.strip()!r} is not {num_targets} finite number"
                    f"{'s' if num_targets > 1 else ''} (--num-classes {num_targets})"
                )
            targets.append(values)
    return np.array(targets).reshape(-1, num_targets)


def read_strata(
    data: str, split: str, labels: Optional[Dictionary], num_classes: int, combine: bool
) -> np.ndarray:
    """Class of each example, (n,); zeros for regression, where ``labels`` is None. Checks both."""
    if labels is not None:
        return read_class_labels(data, split, labels, num_classes, combine)
    return np.zeros(len(read_regression_targets(data, split, num_classes)), dtype=np.int64)
