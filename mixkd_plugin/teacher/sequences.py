"""The teacher's sequences of a split, equal for any batch size, order and number of ranks."""

import hashlib
from functools import cached_property
from typing import Any, Dict, List

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..data.mixup_dataset import MixupDataset
from ..data.wrappers import WithColumn, own_copy
from .teacher_data import TOKENS


class TeacherSequences(Dataset):
    """The clean examples of a split, or with a plan the mixes of its epoch.

    Args:
        dataset: the split; with a plan its examples have partners
        kept: (k,) positions of the examples to use
    """

    def __init__(self, dataset: MixupDataset, kept: np.ndarray):
        self._dataset = dataset
        self._kept = kept
        self._plan = dataset.plan
        inner = dataset.dataset
        own = isinstance(inner, WithColumn) and inner.name == TOKENS
        self._lengths = np.asarray(inner.column.sizes) if own else dataset.split_lengths
        self.split, self.combined = dataset.split, dataset.combined
        self.epoch = dataset.epoch
        self.split_size = len(inner)
        self.ids = dataset.ids[self._kept]  # (k,) positions in the split

    @classmethod
    def clean(cls, dataset: MixupDataset, longest: int) -> "TeacherSequences":
        """The examples within a limit of tokens."""
        clean = own_copy(dataset)
        clean.drop_mixes()
        return cls(clean, np.flatnonzero(dataset.sizes <= longest))

    def spread(self, count: int) -> "TeacherSequences":
        """At most ``count`` of the clean examples, evenly spread."""
        if len(self._kept) <= count:
            return self
        places = np.arange(count) * len(self._kept) // count
        return TeacherSequences(self._dataset, self._kept[places])

    def targets(self) -> Tensor:
        """Of its examples, in their order, as a batch has them."""
        return self.collater([self[i] for i in self._kept])["target"]

    @property
    def per_example(self) -> int:
        return 1 if self._plan is None else self._plan.lam.shape[1]

    @property
    def lengths(self) -> np.ndarray:
        """(k,) the teacher's tokens of each example."""
        return self._lengths[self.ids]

    @cached_property
    def digest(self) -> str:
        """Digest of the sequences: examples, lengths and their plan, in hexadecimal."""
        parts = [self.ids, self.lengths]
        if self._plan is not None:
            parts += [of_all[self._kept] for of_all in self._plan if of_all is not None]
        digest = hashlib.sha256(b"".join(p.astype("<f8").tobytes() for p in parts))
        if self._plan is not None and self._dataset.mixer is not None:
            digest.update(":".join(self._dataset.mixer.names).encode())
        return digest.hexdigest()

    def batches(self, max_tokens: int) -> List[np.ndarray]:
        """All of them by increasing length, in batches with about equal numbers of tokens."""
        tokens = self.lengths
        if self._plan is not None:
            tokens = self._dataset.mixed_lengths(self._kept, self._lengths).sum(axis=1)
        order = np.argsort(tokens, kind="stable")
        batch = (np.cumsum(tokens[order]) - 1) // max_tokens
        return np.split(self._kept[order], np.flatnonzero(np.diff(batch)) + 1)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        return self._dataset[index]

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        return self._dataset.collater(samples)
