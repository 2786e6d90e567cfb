"""``--shorten-method random_crop``: crops that depend only on seed, epoch and example.

fairseq draws them from numpy's global state, which threads that prefetch batches share, and by an
epoch number that all iterators over the same split share. Upstream: not reported.

It acts on the splits of our tasks: fairseq's task makes the dataset, of a class that it names.
"""

from contextvars import ContextVar

import numpy as np
from fairseq.data.shorten_dataset import RandomCropDataset

# Of the dataset whose example a thread reads; set for each example.
EPOCH: ContextVar[int] = ContextVar("EPOCH", default=1)


class CropDataset(RandomCropDataset):
    """The crops that fairseq draws in a single thread."""

    def __getitem__(self, index: int):
        item = self.dataset[index]
        excess = item.size(0) - self.truncation_length
        if excess <= 0:
            return item
        seed = int(hash((self.seed, EPOCH.get(), index)) % 1e6)
        start = np.random.RandomState(seed).randint(0, excess)
        return item[start : start + self.truncation_length]


def draw_crops_apart(dataset) -> None:
    """Replace the crops of a split that fairseq's task has loaded."""
    inner = getattr(dataset, "defn", {}).values() or [getattr(dataset, "dataset", None)]
    for part in inner:
        if isinstance(part, RandomCropDataset):
            part.__class__ = CropDataset
        elif part is not None:
            draw_crops_apart(part)
