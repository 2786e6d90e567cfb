"""The batches of a split that several checkpoints read, and values in the order of the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..data.labels import check_texts
from ..fingerprints import class_names, read_digests
from ..losses import labelled_rows
from .scoring import Batch, Loaded


def batches_of_all(
    loaded: Mapping[str, Loaded], split: str, batch_size: int
) -> dict[str, list[Batch]]:
    """Each model's batches of the split: one list for models with equal inputs.

    Raises:
        ValueError: if the folders do not have the same examples, or an example has no label.
    """
    readers = {}
    for one in loaded.values():
        readers.setdefault(one.reads, one)
    batches = {of: make_batches(one.task, split, batch_size) for of, one in readers.items()}
    for name, one in loaded.items():
        widths = [batch["net_input"]["src_tokens"].size(1) for batch in batches[one.reads]]
        longest = max(widths, default=0)
        allowed = one.model.max_positions()
        if longest > allowed:
            raise ValueError(
                f"--split {split} must have texts of at most {allowed} tokens for {name}, got one "
                f"of {longest}: encode it with --max-length {allowed}"
            )
    first, *others = readers
    targets = targets_of(batches[first])
    for other in others:
        theirs = targets_of(batches[other])
        _check_same_examples(readers[first], readers[other], split, targets, theirs)
    without = int((~labelled_rows(targets.view(len(targets), -1))).sum())
    if without:
        raise ValueError(
            f"--split {split} must have a label for each example, got {without} without one: "
            "encode those with a label as a folder of their own"
        )
    return {name: batches[one.reads] for name, one in loaded.items()}


def _check_same_examples(
    first: Loaded, other: Loaded, split: str, ours: Tensor, theirs: Tensor
) -> None:
    digests = [read_digests(one.data).get(split) for one in (first, other)]
    ours, theirs, what = ours.double(), theirs.double(), None
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, equal_nan=True):
        what = "number or labels"
    elif not first.task.cfg.regression_target and (
        class_names(first.task.label_dictionary) != class_names(other.task.label_dictionary)
    ):
        what = "names of the classes"
    elif None not in digests and digests[0] != digests[1]:
        what = "texts"
    if what is not None:
        raise ValueError(
            f"--teacher-data must have the examples of {first.data}, got other {what} in split "
            f"{split!r} of {other.data}"
        )


def in_order(values: Sequence[Tensor], batches: Sequence[Batch]) -> Tensor:
    """Values of the sequences of batches, sorted as in the data folder."""
    return torch.cat(list(values))[torch.cat([batch["id"] for batch in batches]).argsort()]


def targets_of(batches: Sequence[Batch]) -> Tensor:
    return in_order([batch["target"] for batch in batches], batches)


def make_batches(task, split: str, batch_size: int) -> list[Batch]:
    """Every example of the split, in batches of similar length."""
    if not Path(task.cfg.data, "input0", f"{split}.idx").exists():
        raise ValueError(f"--split must be in {task.cfg.data}, got {split}")
    check_texts(task.cfg.data, split, task.source_dictionary, combine=False)
    task.load_dataset(split)
    dataset = task.dataset(split)
    order = sorted(range(len(dataset)), key=dataset.size)
    parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [dataset.collater([dataset[i] for i in part]) for part in parts]
