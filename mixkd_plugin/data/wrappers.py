"""Wrappers of a user's task around our splits: access to the split, and a check of the wrapper.

Teacher logits, mixes and the order of batches belong to the split that our task loads. A wrapper
that extends fairseq's ``BaseWrapperDataset`` may add to batches, but not change the examples.
"""

import copy
from typing import Any, Dict, List

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, FairseqDataset

from .mixup_dataset import MixupDataset

CHECKED = 32  # examples


class WithColumn(BaseWrapperDataset):
    """A split whose batches also have ``name``: the examples of another dataset, collated by it."""

    def __init__(self, dataset: FairseqDataset, name: str, column: FairseqDataset):
        super().__init__(dataset)
        self.column = column
        self.name = name
        self._key = f"{name} of the example"  # the dataset's own examples may have ``name``

    def __getitem__(self, index: int) -> Dict[str, Any]:
        return {**self.dataset[index], self._key: self.column[index]}

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        batch = self.dataset.collater(samples)
        if samples:
            batch[self.name] = self.column.collater([sample[self._key] for sample in samples])
        return batch


def unwrapped(dataset: FairseqDataset) -> MixupDataset:
    """Our split inside any number of wrappers; ValueError without one."""
    inner = dataset
    while not isinstance(inner, MixupDataset):
        if not isinstance(inner, BaseWrapperDataset):
            raise ValueError(
                f"the task's split is a {type(dataset).__name__}; it must be what load_dataset of "
                "mixkd_sentence_prediction returns, or a fairseq.data.BaseWrapperDataset around it"
            )
        inner = inner.dataset
    return inner


def own_copy(dataset: FairseqDataset) -> FairseqDataset:
    """A copy, with wrappers, whose epoch is set separately."""
    copied = copy.copy(dataset)
    if not isinstance(copied, MixupDataset):
        copied.dataset = own_copy(copied.dataset)
    return copied


def check_wrapper(dataset: FairseqDataset, epoch: int) -> None:
    """Raise ValueError if a wrapper changes the number of examples, the epoch, or some batches."""
    inner = unwrapped(dataset)
    if inner is dataset:
        return
    some = np.unique(np.linspace(0, max(0, len(inner) - 1), CHECKED).astype(int))[: len(inner)]
    alike = len(dataset) == len(inner) and inner.epoch == epoch
    if alike:
        ours, theirs = ([data[i] for i in some] for data in (inner, dataset))
        alike = _holds(dataset.collater(theirs), inner.collater(ours))
    if not alike:
        raise ValueError(
            f"{type(dataset).__name__} around split {inner.split!r} must keep its examples (their "
            "number, order, texts and targets) and pass set_epoch on, since mixes and teacher "
            "logits are of those; it may add to the batches"
        )


def _holds(theirs, ours) -> bool:
    """Whether everything in our batch is in theirs, unchanged."""
    if isinstance(ours, dict):
        return all(key in theirs and _holds(theirs[key], value) for key, value in ours.items())
    if torch.is_tensor(ours):
        return torch.is_tensor(theirs) and np.array_equal(theirs, ours, equal_nan=True)
    return theirs == ours
