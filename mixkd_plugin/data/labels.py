"""Reading and checking the labels of a split, and checking its texts.

An example without a label has the class symbol ``<unk>``, or ``nan`` for each regression
target or each of several labels. fairseq also reads any unknown symbol, such as a misspelt label,
as ``<unk>``: so neither counts as "no label" unless ``unlabelled`` is true.
"""

import logging
import os
from pathlib import Path
from typing import Iterator, Optional

import numpy as np
from fairseq.data import Dictionary, data_utils
from fairseq.data.indexed_dataset import MMapIndexedDataset

from ..fingerprints import INPUTS, class_names, num_texts
from ..losses import LossWeights

logger = logging.getLogger(__name__)

NO_CLASS = -1  # fairseq's target for <unk>
_separated = set()  # splits of which check_separators found nothing in this process
_HINT = "; only training examples may have none, with --unlabelled-examples allow"


def check_texts(data: str, split: str, dictionary: Dictionary, combine: bool) -> None:
    """Raise ValueError where a token is none of the dictionary's: a model would not say so."""
    for column in INPUTS:
        path = os.path.join(data, column, split)
        texts, tokens = _read(path, dictionary, combine)
        if texts is None:  # fairseq says so, if it should be there
            continue
        low = min((int(part.min()) for part in tokens if part.size), default=0)
        high = max((int(part.max()) for part in tokens if part.size), default=0)
        if low < 0 or high >= len(dictionary):
            raise ValueError(
                f"{path}.bin must have tokens 0 to {len(dictionary) - 1}, those of {data}/input0/"
                f"dict.txt, got {low} to {high}: binarise the texts with this dictionary"
            )


def check_separators(data: str, dictionary: Dictionary) -> None:
    """The texts that a model with two token types reads: the first </s> must end the first text.

    A run asks for its student and for each teacher; a split is read again only if it changed.

    Raises:
        ValueError: where a text of a split spells another one, or has none.
    """
    for path in sorted(Path(data, "input0").glob("*.idx")):
        files = [file for file in (path, path.with_suffix(".bin")) if file.exists()]
        states = ((file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        split = (path.resolve(), dictionary.eos(), *states)
        if split in _separated:
            continue
        texts, parts = _read(str(path.with_suffix("")), dictionary, False)
        if not texts:
            continue
        is_end = np.concatenate(parts) == dictionary.eos()
        example = np.repeat(np.arange(len(texts)), np.asarray(texts.sizes))
        counts = np.bincount(example[is_end], minlength=len(texts))
        bad = np.flatnonzero(counts != 1)
        if len(bad):
            cure = ", or import a BERT with --one-token-type, which changes logits of pairs alone"
            cure = "" if num_texts(data) > 1 else cure
            raise ValueError(
                f"{path.with_suffix('')}: example {bad[0]} must have one </s>, at its end, for a "
                f"model with two token types (--token-types), got {counts[bad[0]]}: what follows "
                "the first counts as the second text; write another mark than </s> or [SEP] in it"
                + cure
            )
        _separated.add(split)


def _read(path: str, dictionary: Dictionary, combine: bool):
    """fairseq's dataset, None where there is none, and all of its tokens, in parts."""
    try:
        dataset = data_utils.load_indexed_dataset(path, dictionary, combine=combine)
        return dataset, [] if dataset is None else list(_tokens(dataset))
    except Exception as error:  # damaged files have errors of many kinds
        raise ValueError(
            f"{path}.bin and .idx must be fairseq's, got damaged ones: {error}"
        ) from error


def read_class_labels(
    data: str, split: str, dictionary, num_classes: int, combine: bool, unlabelled: bool
) -> np.ndarray:
    """Class of every example of a split, (n,), each checked; :data:`NO_CLASS` without a label.

    Raises:
        ValueError: where labels are missing, more than one, or not among the classes.
    """
    path = os.path.join(data, "label", split)
    labels, parts = _read(path, dictionary, combine)
    if labels is None:
        raise ValueError(f"no labels for split {split!r}: {path}.bin and .idx do not exist")
    sizes = np.asarray(labels.sizes, dtype=np.int64)
    tokens = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64, copy=False)
    example = np.repeat(np.arange(len(sizes)), sizes)
    is_label = tokens != dictionary.eos()  # an optional end
    counts = np.bincount(example[is_label], minlength=len(sizes))
    bad = np.flatnonzero(counts != 1)
    if len(bad):
        raise ValueError(
            f"{path}: example {bad[0]} has {counts[bad[0]]} labels instead of one ({len(bad)} such "
            "examples)"
        )
    symbols = tokens[is_label]
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


def _tokens(dataset) -> Iterator[np.ndarray]:
    """All tokens of a dataset's files, one example after the other."""
    for part in getattr(dataset, "datasets", [dataset]):  # several files, where they are combined
        if isinstance(part, MMapIndexedDataset):  # one by one takes seconds
            yield np.frombuffer(part._bin_buffer, part._index.dtype, int(np.sum(part.sizes)))
            continue
        if part.supports_prefetch:
            part.prefetch(range(len(part)))
        yield from (np.asarray(part[i], dtype=np.int64) for i in range(len(part)))


def read_values(
    data: str, split: str, num_targets: int, unlabelled: bool, multi_label: bool
) -> np.ndarray:
    """Targets of every example of a split, (n, num_targets), each checked; nan without a label.

    Raises:
        ValueError: where the file is missing, or a line has another number of values than
            ``--num-classes``, or one that is not a finite number, or of ``multi_label`` not 0 or 1.
    """
    path = os.path.join(data, "label", f"{split}.label")
    if not os.path.exists(path):
        raise ValueError(f"no labels for split {split!r}: {path} does not exist")
    targets = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                values = [float(v) for v in line.split()]
            except ValueError:
                values = []
            none = bool(values) and bool(np.isnan(values).all())
            allowed = np.isin(values, (0, 1)) if multi_label else np.isfinite(values)
            if len(values) != num_targets or not (allowed.all() or (none and unlabelled)):
                kind = f"finite number{'s' if num_targets > 1 else ''}"
                raise ValueError(
                    f"{path}, line {number}: {line.strip()!r} is not {num_targets} "
                    f"{'times 0 or 1' if multi_label else kind} (--num-classes {num_targets})"
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
    multi_label: bool = False,
) -> np.ndarray:
    """Class of each example, (n,), or its targets, (n, num_classes), for regression, where
    ``labels`` is None, and for ``multi_label``.

    Checks both. Where ``unlabelled`` allows examples without a label, those have :data:`NO_CLASS`,
    or nan.
    """
    if labels is not None and not multi_label:
        return read_class_labels(data, split, labels, num_classes, combine, unlabelled)
    if labels is not None and len(class_names(labels)) != num_classes:
        raise ValueError(
            f"--num-classes must be {len(class_names(labels))}, the classes of {data}/label/"
            f"dict.txt, with --multi-label, got {num_classes}"
        )
    return read_values(data, split, num_classes, unlabelled, multi_label)


def class_ids(targets: np.ndarray) -> np.ndarray:
    """Class of each example, (n,), or 0 for targets (n, C); :data:`NO_CLASS` without a label."""
    if targets.ndim == 1:
        return targets
    return np.where(np.isnan(targets).any(axis=1), NO_CLASS, 0)


def check_some_labelled(classes: np.ndarray, weights: LossWeights) -> None:
    """Log how many of the training examples have a label.

    Raises:
        ValueError: where none has, and a term of the labels has a weight above 0.
    """
    labelled = int((classes != NO_CLASS).sum())
    logger.info("%d of %d training examples have a label", labelled, len(classes))
    flags = weights.flags("mle", "sm")
    if labelled == 0 and flags:
        raise ValueError(
            f"{flags} must be 0: no training example has a label (--unlabelled-examples allow)"
        )
