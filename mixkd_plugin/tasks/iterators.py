"""The batch iterators of our task."""

from inspect import signature
from typing import Any, Optional

from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from .. import distributed
from ..data.mixup_dataset import MixupDataset
from ..data.wrappers import check_wrapper, own_copy, unwrapped
from ..fairseq_fixes.dummy_batch_mark import mark_dummy_batch
from ..fairseq_fixes.epoch_position import ResumableBatches
from ..teacher.sequences import TeacherSequences

_ARGUMENTS = list(signature(SentencePredictionTask.get_batch_iterator).parameters)[2:]


class WithOwnIterators(SentencePredictionTask):
    """fairseq's task; training resumes at its position, and shares no dataset with validation."""

    trains = False
    _num_workers = 0
    _training_split: Optional[MixupDataset] = None
    _training_batches = 0
    _training_iterator: Optional[EpochBatchIterator] = None

    def get_batch_iterator(self, dataset, *args, **kwargs):
        """fairseq's, over a copy of the dataset if this is not training's iterator.

        Otherwise validation on the training split would reset the mixes of training to epoch 1, or
        use training's iterator, which fairseq stores by dataset. It has no use for mixes.
        """
        kwargs.update(zip(_ARGUMENTS, args))
        trains = "grouped_shuffling" in kwargs  # fairseq's trainer passes it only for training
        split = unwrapped(dataset)
        if trains and kwargs.get("max_positions") == kwargs.get("max_tokens"):
            # else fairseq would drop longer texts, which batch_by_size refuses
            kwargs["max_positions"] = self.max_positions()
        kept = self.dataset_to_epoch_iter.get(dataset)
        of_the_other = kept is not None and trains != isinstance(kept, ResumableBatches)
        if of_the_other or not split.can_reuse_epoch_itr_across_epochs:
            dataset = own_copy(dataset)
            split = unwrapped(dataset)
            if not trains and (not self.trains or self._training_split is not None):
                split.drop_mixes()
            kwargs["disable_iterator_cache"] = True  # by a copy, which nobody asks for again
        iterator = super().get_batch_iterator(dataset, **kwargs)
        epoch = kwargs.get("epoch", split.epoch)
        dataset.set_epoch(epoch)  # fairseq does not for an iterator that it has
        check_wrapper(dataset, epoch)
        self._num_workers = kwargs.get("num_workers", 0)
        if trains:
            longest = kwargs.get("max_positions")
            self._take_over(iterator, split, kwargs.get("num_shards", 1), longest)
        else:
            mark_dummy_batch(iterator, self._training_iterator)
        return iterator

    def _take_over(
        self, iterator: EpochBatchIterator, split: MixupDataset, processes: int, longest: Any
    ) -> None:
        self._training_split, self._training_batches = split, len(iterator)
        examples = sum(len(batch) for batch in iterator.frozen_batches)
        if examples == 0 and len(split):
            raise ValueError(
                f"--max-positions, and the student's own, must be >= {split.sizes.min()}, the "
                f"tokens of the shortest example of split {split.split!r}, got {longest}: raise "
                "it, or cut texts by --shorten-method truncate"
            )
        if examples < processes:
            raise ValueError(
                f"--distributed-world-size must be at most {examples}, the examples of split "
                f"{split.split!r}, got {processes}"
            )
        if split.plan is not None and processes > 1:
            # else a rank would look up teacher logits of another rank's mixes
            flag = f"the mixes that --mixup-pairing {self.cfg.mixup_pairing} draws"
            digest = TeacherSequences(split, split.eligible).digest[:16]
            distributed.check_equal({flag: digest})
        ResumableBatches.take_over(iterator, self.cfg.update_freq)
        self._training_iterator = iterator
