"""A run resumes at its position in the epoch with any number of processes.

fairseq saves how many batches *each* process did. With twice the processes as many
batches would be skipped as were done; with half of them half would be repeated.
Upstream: facebookresearch/fairseq#781.

It acts on the training iterator of our tasks.
"""

import math
from typing import Any, Dict, List

from fairseq.data.iterators import EpochBatchIterator
from fairseq.logging import metrics

from .dummy_batch_mark import WithMarkedDummy


class ResumableBatches(WithMarkedDummy):
    """fairseq's iterator over training batches, resumed without leaving out or repeating one.

    An epoch is one list of batches, which are assigned to processes in turn, so the done ones are
    its first part: its length follows from the number of processes, which is saved, too. The first
    update after a change of that number may have fewer batches: only those that were not done.

    If a process has fewer batches in an update than others, its empty ones come first: fairseq
    ignores its update if the last one is empty, and only then.
    """

    @classmethod
    def take_over(cls, iterator: EpochBatchIterator, update_freq: List[int]) -> None:
        """Make an iterator of one; ``update_freq`` is batches of a process in an update, by epoch.

        fairseq's task makes it, without an option for its class.
        """
        iterator.__class__ = cls
        iterator._update_freq = update_freq
        iterator._done_before = (0, 0)  # (epoch, its batches that were done) when it was loaded

    def state_dict(self) -> Dict[str, Any]:
        # Version 2 makes fairseq's trainer forget all meters at the start of an epoch, but only
        # those of "train" must be reset there.
        return {**super().state_dict(), "version": 1, "num_shards": self.num_shards}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        epoch, each = state_dict["epoch"], state_dict.get("iterations_in_epoch", 0)
        done = each * state_dict.get("num_shards", self.num_shards)
        freq = self._batches_in_update(epoch)
        start = done // (self.num_shards * freq) * freq  # else fairseq would not end the epoch
        self._done_before = (epoch, done)
        super().load_state_dict({**state_dict, "version": 2, "iterations_in_epoch": start})

    def _batches_in_update(self, epoch: int) -> int:
        return self._update_freq[min(epoch, len(self._update_freq)) - 1]

    def ordered_batches(self, epoch, fix_batches_to_gpus, shuffle) -> List[List[int]]:
        """This process's batches; without examples, those that were done before."""
        batches = super().ordered_batches(epoch, fix_batches_to_gpus, shuffle)
        resumed, done = self._done_before
        if epoch == resumed:
            mine = max(0, math.ceil((done - self.shard_id) / self.num_shards))
            batches[:mine] = [[]] * mine
        freq = self._batches_in_update(epoch)
        updates = (batches[i : i + freq] for i in range(0, len(batches), freq))
        return [b for update in updates for b in sorted(update, key=lambda b: len(b) > 0)]

    def next_epoch_itr(self, *args, **kwargs):
        iterator = super().next_epoch_itr(*args, **kwargs)
        if self._done_before[0] != self.epoch or self._done_before[1] == 0:
            metrics.reset_meters("train")  # those of the epoch before, of a checkpoint at its end
        return iterator
