"""The dataset of a split: fairseq's own, in parts, in order of length, and with mixing partners."""

import copy
import hashlib
import math
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset

from .cropping import EPOCH
from .losses import labelled_rows
from .pairing import Examples, MixupPlan, order_by_length

# (the eligible examples, epoch=) -> plan over them; picklable, for loader workers
PlanDrawer = Callable[..., MixupPlan]


class DistillationDataset(BaseWrapperDataset):
    """A ``sentence_prediction`` split whose examples may bring their mixing partners along.

    A batch is fairseq's own, and where mixes are drawn also holds ``partner`` (the partners'
    own batch, M rows: row m is mixed with example m % B) and ``lam`` ((M,), float64: the
    example's weight). ``id`` stays the position in the binarised split: an example keeps its
    identity under shuffling, fractions and any number of processes; ``split`` is the split's name.

    Args:
        split: its name
        dataset: the split as fairseq's task loads it
        lengths: (n,) tokens of each of its examples
        indices: positions to use (default all)
        by_length: order examples by length instead of fairseq's way
        length_seed: draws the order of equal lengths, and so the batches, anew each epoch; None
            leaves equal lengths in the split's order
        draw_plan: draws the mixes of an epoch; None mixes nothing
        classes: (n,) class of each example, for rules that pair by it; needed where mixes are drawn
        clean_rows: whether a batch with mixes is computed on its clean rows, too
        count_labelled: add ``nlabelled``, how many examples of a batch have a gold label
        keep_every_example: disregard ``--required-batch-size-multiple``, which drops a last batch
        teacher_lengths: (n,) tokens that the teacher reads of each example (default ``lengths``)
        combined: whether ``split1`` and so on are part of it
    """

    def __init__(
        self,
        split: str,
        dataset,
        lengths: np.ndarray,
        indices: Optional[np.ndarray] = None,
        by_length: bool = False,
        length_seed: Optional[int] = None,
        draw_plan: Optional[PlanDrawer] = None,
        classes: Optional[np.ndarray] = None,
        clean_rows: bool = True,
        count_labelled: bool = False,
        keep_every_example: bool = True,
        teacher_lengths: Optional[np.ndarray] = None,
        combined: bool = False,
    ):
        super().__init__(dataset)
        self.split = split
        self.combined = combined
        self._indices = np.arange(len(dataset)) if indices is None else indices
        self._split_lengths = np.asarray(lengths)
        self._lengths = self._split_lengths[self._indices]
        self._teacher_lengths = np.asarray(lengths if teacher_lengths is None else teacher_lengths)
        self._whole = indices is None
        self._by_length = by_length
        self._length_seed = length_seed
        self._draw_plan = draw_plan
        self._classes = classes
        self._clean_rows = int(clean_rows)
        self._count_labelled = count_labelled
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
        return int(self.num_tokens_vec(np.array([index]))[0])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """Tokens that an example brings to a batch: those of its rows, padded to the longest.

        So ``--max-tokens`` bounds what the device sees, mixed rows included.
        """
        if self._draw_plan is None:
            return self._lengths[indices]
        self._ensure_plan()
        partners = self._split_lengths[self._partners[indices]]
        longest = np.maximum(self._lengths[indices], partners.max(axis=1))
        return longest * (self._clean_rows + self._lam.shape[1])

    # --- order and batches ---

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """False where batches or mixes change with the epoch.

        fairseq then makes a new iterator, and new loader workers, for each epoch; workers that
        outlive an epoch would go on mixing by the plan of the epoch they were started in.
        """
        return self._length_seed is None and self._draw_plan is None

    @property
    def classes(self) -> np.ndarray:
        """(n,) class of each example, -1 without a gold label; of a regression 0."""
        return self._classes[self._indices]

    @property
    def epoch(self) -> int:
        return self._epoch

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
        if max_tokens is not None and len(indices):
            needed = int(self.num_tokens_vec(indices).max())
            if needed > max_tokens:
                mixes = self._draw_plan is not None
                flag = "--max-tokens" if mixes else "--max-tokens or --max-tokens-valid"
                rows = " whose rows, mixed ones included, are" if mixes else " of"
                raise ValueError(
                    f"{flag} {max_tokens}: split {self.split!r} has an example{rows} {needed} "
                    f"tokens; allowed is {needed} or more"
                )
        return super(BaseWrapperDataset, self).batch_by_size(
            indices, max_tokens, max_sentences, multiple
        )

    # --- examples ---

    def _ensure_plan(self) -> None:
        """Draw this epoch's plan, spread over all positions of the dataset, once.

        The main process does, for fairseq takes an epoch's first batch there; loader workers
        inherit it, and so need not know a registered pairing rule.
        """
        if self._plan_epoch == self._epoch:
            return
        ids = self.eligible_ids
        examples = Examples(ids, self._split_lengths[ids], self._classes[ids])
        plan = self._draw_plan(examples, epoch=self._epoch)
        shape = (len(self), plan.lam.shape[1])
        self._partners = np.zeros(shape, dtype=np.int64)
        self._lam = np.zeros(shape)
        self._partners[self._eligible] = self._indices[self._eligible[plan.partners]]
        self._lam[self._eligible] = plan.lam
        self._plan_epoch = self._epoch

    def __getitem__(self, index: int) -> Dict[str, Any]:
        EPOCH.set(self._epoch)
        example = self.dataset[self._indices[index]]
        if self._draw_plan is not None:
            self._ensure_plan()
            example["partners"] = [self.dataset[p] for p in self._partners[index]]
            example["lam"] = self._lam[index]
        return example

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        batch = self._collated(samples)
        if samples:
            batch["split"] = self.split
        if samples and self._count_labelled:  # here, where no device has to wait for it
            batch["nlabelled"] = int(labelled_rows(batch["target"]).sum())
        if samples and self._draw_plan is not None:
            columns = zip(*(s["partners"] for s in samples))
            batch["partner"] = self._collated([p for column in columns for p in column])
            batch["epoch"] = self._epoch
            batch["lam"] = torch.from_numpy(np.stack([s["lam"] for s in samples], axis=1).ravel())
        return batch

    def _collated(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """fairseq's batch; the targets of a regression are safe from its half precision."""
        batch = self.dataset.collater(samples)
        targets = batch.get("target")
        if targets is not None and targets.is_floating_point():
            batch["target"] = targets.double()
        return batch

    def prefetch(self, indices) -> None:
        wanted = self._indices[np.asarray(indices, dtype=np.int64)]
        if self._draw_plan is not None:
            self._ensure_plan()
            wanted = np.union1d(wanted, self._partners[indices])
        self.dataset.prefetch(wanted)

    # --- rows, for who wants all of them at once ---

    @property
    def split_size(self) -> int:
        return len(self.dataset)

    @property
    def rows_per_example(self) -> int:
        """Mixed rows, or 1 where nothing is mixed."""
        if self._draw_plan is None:
            return 1
        self._ensure_plan()
        return self._lam.shape[1]

    @property
    def eligible_ids(self) -> np.ndarray:
        """(k,) ids of the examples that are not too long."""
        return self._indices[self._eligible]

    @property
    def teacher_lengths(self) -> np.ndarray:
        """(k,) tokens that the teacher reads of each of them."""
        return self._teacher_lengths[self.eligible_ids]

    def without_mixes(self) -> "DistillationDataset":
        clean = copy.copy(self)
        clean._draw_plan = None
        return clean

    def up_to(self, longest: int) -> "DistillationDataset":
        """Without the examples that have more tokens."""
        short = copy.copy(self)
        short._eligible = np.flatnonzero(self._lengths <= longest)
        short._plan_epoch = None
        return short

    def rows_digest(self) -> str:
        """Of which rows the teacher reads: examples, partners and weights, in hexadecimal."""
        parts = [self.eligible_ids, self.teacher_lengths]
        if self._draw_plan is not None:
            self._ensure_plan()
            parts += [self._partners[self._eligible], self._lam[self._eligible]]
        return hashlib.sha256(b"".join(p.astype("<f8").tobytes() for p in parts)).hexdigest()

    def canonical_batches(self, max_tokens: int) -> List[np.ndarray]:
        """All eligible examples by increasing length, in batches of about so many of the teacher's
        tokens.

        They depend on the rows alone: not on the epoch's order, the batch size or the processes.
        """
        tokens = self.teacher_lengths
        if self._draw_plan is not None:
            self._ensure_plan()
            partners = self._teacher_lengths[self._partners[self._eligible]]
            tokens = np.maximum(tokens[:, None], partners).sum(axis=1)
        order = np.argsort(tokens, kind="stable")
        batch = (np.cumsum(tokens[order]) - 1) // max_tokens
        return np.split(self._eligible[order], np.flatnonzero(np.diff(batch)) + 1)
