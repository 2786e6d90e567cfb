"""The dataset of a split: fairseq's own, in parts, in order of length, and with mixing partners."""

import math
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset

from ..fairseq_fixes.random_crop import EPOCH
from ..losses import labelled_rows
from .mixup_kinds import TokenMixer
from .mixup_plan import Examples, MixupPlan, order_by_length

# (the eligible examples, epoch=) -> plan over them; picklable, for loader workers
PlanDrawer = Callable[..., MixupPlan]


class MixupDataset(BaseWrapperDataset):
    """A ``sentence_prediction`` split whose batches may have mixing partners.

    A batch is fairseq's own; with mixes it also has ``partner`` (the partners'
    own batch, M sequences: m is mixed with example m % B) and ``lam`` ((M,), float64: the
    example's weight). With ``mixer`` it also has ``is_text`` and ``pad`` of :class:`mixup.Mix`,
    and partners have the tokens of a mix that is a text. ``id`` stays the position in the binarised
    split: an example keeps its identity under shuffling, fractions and any number of processes;
    ``split`` is the split's name.

    ``ids`` (n,) are the examples' positions in the split, ``classes`` (n,) their classes, -1
    without a label, 0 for a regression. ``eligible`` (k,) are those of the n that are not too long.
    ``plan`` holds the epoch's mixes, drawn when the epoch is set: partners (n, ratio) as positions
    in the split, and lam (n, ratio), as drawn; None without mixing.

    Args:
        split: its name
        dataset: the split as fairseq's task loads it
        lengths: (n,) tokens of each of its examples
        indices: positions to use (default all)
        by_length: order examples by length instead of fairseq's way
        length_seed: seed of the order of equal lengths in each epoch, and so of the batches; None
            leaves equal lengths in the split's order
        draw_plan: draws the mixes of an epoch; None mixes nothing
        mixer: makes mixes that are texts; None: all are interpolations
        classes: of all of its examples, for rules that pair by it; needed where mixes are drawn
        with_clean: whether the loss needs a batch's clean examples beside its mixes
        count_labelled: add ``nlabelled``, how many examples of a batch have a label
        keep_every_example: disregard ``--required-batch-size-multiple``, which drops a last batch
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
        mixer: Optional[TokenMixer] = None,
        classes: Optional[np.ndarray] = None,
        with_clean: bool = True,
        count_labelled: bool = False,
        keep_every_example: bool = True,
        combined: bool = False,
    ):
        super().__init__(dataset)
        self.split = split
        self.combined = combined
        self.ids = np.arange(len(dataset)) if indices is None else indices
        self.split_lengths = np.asarray(lengths)
        self._lengths = self.split_lengths[self.ids]
        self._by_length = by_length
        self._length_seed = length_seed
        self._draw_plan = draw_plan
        self.mixer = mixer
        self.classes = None if classes is None else classes[self.ids]
        self._with_clean = with_clean
        self._count_labelled = count_labelled
        self._keep_every_example = keep_every_example
        self.eligible = np.arange(len(self.ids))
        self.epoch = 1
        self.plan: Optional[MixupPlan] = None
        self._draw()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> np.ndarray:
        return self._lengths

    def size(self, index: int) -> int:
        return self._lengths[index]

    def num_tokens(self, index: int) -> int:
        return int(self.num_tokens_vec(np.array([index]))[0])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """Tokens that an example adds to a batch: those of its sequences, padded to the longest.

        So ``--max-tokens`` bounds the tokens on the device, mixes included.
        """
        if self.plan is None:
            return self._lengths[indices]
        longest = self.mixed_lengths(indices, self.split_lengths).max(axis=1)
        if self._with_clean:
            longest = np.maximum(longest, self._lengths[indices])
        return longest * self._sequences

    @property
    def _sequences(self) -> int:
        """Of an example in a batch: its own, if it is there, and its mixes."""
        return 1 if self.plan is None else self._with_clean + self.plan.lam.shape[1]

    def mixed_lengths(self, indices: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(k, ratio) tokens, at most, of the mixes of some examples.

        Args:
            lengths: of the split's examples
        """
        own = lengths[self.ids[indices]][:, None]
        partners = lengths[self.plan.partners[indices]]
        if self.mixer is None:
            return np.maximum(own, partners)
        return self.mixer.lengths(own, partners, self.plan.lam[indices], self.plan.kinds[indices])

    # --- order and batches ---

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """False if batches or mixes change with the epoch.

        fairseq then makes a new iterator, and new loader workers, for each epoch; workers of an
        earlier epoch would have that epoch's plan.
        """
        return self._length_seed is None and self.plan is None

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            self._draw()

    def _draw(self) -> None:
        """Draw the epoch's plan over the eligible examples: here, in the main process, so that
        loader workers inherit it and need not know a registered pairing rule."""
        if self._draw_plan is None:
            return
        ids = self.ids[self.eligible]
        examples = Examples(ids, self._lengths[self.eligible], self.classes[self.eligible])
        drawn = self._draw_plan(examples, epoch=self.epoch)
        self.plan = drawn.of_split(ids, self.eligible, len(self))

    def ordered_indices(self) -> np.ndarray:
        if self._by_length and self._length_seed is None:
            return np.argsort(self._lengths, kind="stable")
        if self._by_length:
            return order_by_length(self._lengths, self._length_seed, self.epoch)
        rank = np.argsort(self.dataset.ordered_indices())  # of each example of the split
        return np.argsort(rank[self.ids])

    def filter_indices_by_size(self, indices, max_sizes):
        """As fairseq's; an example that it leaves out is also no partner."""
        kept, ignored = super(BaseWrapperDataset, self).filter_indices_by_size(indices, max_sizes)
        eligible = np.sort(kept)
        if not np.array_equal(eligible, self.eligible):
            self.eligible = eligible
            self._draw()
        return kept, ignored

    def batch_by_size(
        self, indices, max_tokens=None, max_sentences=None, required_batch_size_multiple=1
    ):
        """Batches within the limits of tokens and sentences; ``keep_every_example`` drops none.

        Without a limit of tokens their sizes differ by at most one: a last batch of one or two
        examples would have the weight of a full update.
        """
        limited = max_sentences is not None and max_sentences > 0
        if self._keep_every_example and max_tokens is None and limited and len(indices):
            return np.array_split(indices, math.ceil(len(indices) / max_sentences))
        multiple = 1 if self._keep_every_example else required_batch_size_multiple
        if max_tokens is not None and len(indices):
            # at most, in any epoch: a mix is never longer than the longer one of its examples
            needed = int(self._lengths[indices].max()) * self._sequences
            if needed > max_tokens:
                mixes = self.plan is not None
                flag = "--max-tokens" if mixes else "--max-tokens or --max-tokens-valid"
                what = "with its mixes" if mixes else "alone"
                raise ValueError(
                    f"{flag} must be >= {needed}, got {max_tokens}: an example of split "
                    f"{self.split!r} {what} has so many tokens"
                )
        return super(BaseWrapperDataset, self).batch_by_size(
            indices, max_tokens, max_sentences, multiple
        )

    # --- examples ---

    def __getitem__(self, index: int) -> Dict[str, Any]:
        EPOCH.set(self.epoch)
        example = self.dataset[self.ids[index]]
        if self.plan is not None:
            example["partners"] = [self.dataset[p] for p in self.plan.partners[index]]
            example["lam"] = self.plan.lam[index]
            if self.mixer is not None:
                self.mixer.mix_all(example, self.plan.kinds[index], self.plan.cuts[index])
        return example

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        batch = self._collated(samples)
        if not samples:
            return batch
        batch["split"] = self.split
        if self._count_labelled:  # here, on the CPU, so that no device waits
            batch["nlabelled"] = int(labelled_rows(batch["target"]).sum())
        if self.plan is not None:
            columns = zip(*(s["partners"] for s in samples))
            batch["partner"] = self._collated([p for column in columns for p in column])
            batch["epoch"] = self.epoch  # teacher logits of mixes belong to one epoch
            batch["lam"] = _by_mix(samples, "lam")
            if self.mixer is not None:
                batch["is_text"] = bool(self.mixer.is_text.all()) or _by_mix(samples, "is_text")
                batch["pad"] = self.mixer.pad
        return batch

    def _collated(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """fairseq's batch; regression targets stay float32 in half precision."""
        batch = self.dataset.collater(samples)
        targets = batch.get("target")
        if targets is not None and targets.is_floating_point():
            batch["target"] = targets.double()
        return batch

    def prefetch(self, indices) -> None:
        wanted = self.ids[np.asarray(indices, dtype=np.int64)]
        if self.plan is not None:
            wanted = np.union1d(wanted, self.plan.partners[indices])
        self.dataset.prefetch(wanted)

    def drop_mixes(self) -> None:
        self._draw_plan = self.plan = None


def _by_mix(samples: List[Dict[str, Any]], key: str) -> torch.Tensor:
    """(M,) a value of each mix, m being of example m % B."""
    return torch.from_numpy(np.stack([sample[key] for sample in samples], axis=1).ravel())
