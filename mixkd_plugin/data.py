"""The dataset of a split: fairseq's own, in parts, in order of length, and with mixing partners."""

import math
import os
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, data_utils

from .pairing import MixupPlan, order_by_length

# (lengths of the eligible examples, epoch=) -> plan over them; picklable, for loader workers
PlanDrawer = Callable[..., MixupPlan]


class DistillationDataset(BaseWrapperDataset):
    """A ``sentence_prediction`` split whose examples may bring their mixing partners along.

    A batch is fairseq's own, and where mixes are drawn also holds ``partner`` (the partners'
    own batch, M rows: row m is mixed with example m % B) and ``lam`` ((M,), float64: the
    example's weight). ``id`` stays the position in the binarised split: an example keeps its
    identity under shuffling, fractions and any number of processes; ``split_size`` is how many
    such positions there are.

    Args:
        dataset: the split as fairseq's task loads it
        lengths: (n,) tokens of each of its examples
        indices: positions to use (default all)
        by_length: order examples by length instead of fairseq's way
        length_seed: draws the order of equal lengths, and so the composition of batches, anew each
            epoch; None leaves equal lengths in the split's order
        draw_plan: draws the mixes of an epoch; None mixes nothing
        keep_every_example: batch without regard to ``--required-batch-size-multiple``, for which
            fairseq drops the last batch of a split
    """

    def __init__(
        self,
        dataset,
        lengths: np.ndarray,
        indices: Optional[np.ndarray] = None,
        by_length: bool = False,
        length_seed: Optional[int] = None,
        draw_plan: Optional[PlanDrawer] = None,
        keep_every_example: bool = True,
    ):
        super().__init__(dataset)
        self._indices = np.arange(len(dataset)) if indices is None else indices
        self._lengths = np.asarray(lengths)[self._indices]
        self._whole = indices is None
        self._by_length = by_length
        self._length_seed = length_seed
        self._draw_plan = draw_plan
        self._keep_every_example = keep_every_example
        self._eligible = np.arange(len(self._indices))
        self._epoch = 1
        self._plan_epoch = None

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def sizes(self) -> np.ndarray:
        return self._lengths

    def size(self, index: int) -> int:
        return self._lengths[index]

    def num_tokens(self, index: int) -> int:
        return self._lengths[index]

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self._lengths[indices]

    # --- order and batches ---

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """False where batches or mixes change with the epoch.

        fairseq then makes a new iterator, and new loader workers, for each epoch; workers that
        outlive an epoch would go on mixing by the plan of the epoch they were started in.
        """
        return self._length_seed is None and self._draw_plan is None

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self._epoch = epoch

    def ordered_indices(self) -> np.ndarray:
        if self._by_length and self._length_seed is None:
            return np.argsort(self._lengths, kind="stable")
        if self._by_length:
            return order_by_length(self._lengths, self._length_seed, self._epoch)
        order = self.dataset.ordered_indices()
        if self._whole:
            return order
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return np.argsort(rank[self._indices], kind="stable")

    def filter_indices_by_size(self, indices, max_sizes):
        """As fairseq's; what it leaves out is no partner either."""
        kept, ignored = super(BaseWrapperDataset, self).filter_indices_by_size(indices, max_sizes)
        self._eligible = np.sort(kept)
        self._plan_epoch = None
        return kept, ignored

    def batch_by_size(
        self, indices, max_tokens=None, max_sentences=None, required_batch_size_multiple=1
    ):
        """Batches of at most so many tokens or sentences; with every example, where asked for.

        Without a limit of tokens those are of equal size, give or take one: a last batch of one or
        two examples would get the weight of a whole update.
        """
        if not self._keep_every_example:
            multiple = required_batch_size_multiple
        elif max_tokens is None and len(indices):
            return np.array_split(indices, math.ceil(len(indices) / max_sentences))
        else:
            multiple = 1
        return super(BaseWrapperDataset, self).batch_by_size(
            indices, max_tokens, max_sentences, multiple
        )

    # --- examples ---

    def _ensure_plan(self) -> None:
        """Draw this epoch's plan once in a process, spread over all positions of the dataset."""
        if self._plan_epoch == self._epoch:
            return
        plan = self._draw_plan(self._lengths[self._eligible], epoch=self._epoch)
        shape = (len(self), plan.lam.shape[1])
        self._partners = np.zeros(shape, dtype=np.int64)
        self._lam = np.zeros(shape)
        self._partners[self._eligible] = self._indices[self._eligible[plan.partners]]
        self._lam[self._eligible] = plan.lam
        self._plan_epoch = self._epoch

    def __getitem__(self, index: int) -> Dict[str, Any]:
        example = self.dataset[self._indices[index]]
        if self._draw_plan is not None:
            self._ensure_plan()
            example["partners"] = [self.dataset[p] for p in self._partners[index]]
            example["lam"] = self._lam[index]
        return example

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        batch = self.dataset.collater(samples)
        if samples:
            batch["split_size"] = len(self.dataset)
        if samples and self._draw_plan is not None:
            columns = zip(*(s["partners"] for s in samples))
            batch["partner"] = self.dataset.collater([p for column in columns for p in column])
            batch["lam"] = torch.from_numpy(np.stack([s["lam"] for s in samples], axis=1).ravel())
        return batch

    def prefetch(self, indices) -> None:
        wanted = self._indices[np.asarray(indices, dtype=np.int64)]
        if self._draw_plan is not None:
            self._ensure_plan()
            wanted = np.union1d(wanted, self._partners[indices])
        self.dataset.prefetch(wanted)


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
    symbols = np.fromiter((labels[i][0] for i in range(len(labels))), np.int64, len(labels))
    classes = symbols - dictionary.nspecial
    bad = np.flatnonzero((classes < 0) | (classes >= num_classes))
    if len(bad):
        raise ValueError(
            f"{path}: example {bad[0]} has the label {dictionary[symbols[bad[0]]]!r}, which is not "
            f"among the first {num_classes} (--num-classes) symbols of {data}/label/dict.txt"
        )
    return classes


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
