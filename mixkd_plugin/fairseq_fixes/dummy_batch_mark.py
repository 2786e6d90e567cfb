"""Marks a rank's dummy batch.

A rank without a batch computes fairseq's dummy batch, the first one of the data. fairseq does not
mark it, so that a task cannot exclude it from logging and from the teacher. After a validation it
is a validation batch, in training too. Upstream: not reported.

It acts on each batch iterator of our tasks: fairseq's task makes them, of a class that it names.
"""

from fairseq.data.iterators import EpochBatchIterator

EXAMPLES = 2  # of a dummy batch; a normalisation over the batch fails with one


class WithMarkedDummy(EpochBatchIterator):
    """fairseq's iterator, with a mark on the batch of which the trainer makes dummy ones.

    It has a few examples of the first batch. The mark is True, or in a run's validation such a
    batch of training.
    """

    _training: EpochBatchIterator | None = None

    @property
    def first_batch(self):
        if not self.frozen_batches:
            return super().first_batch  # fairseq's error
        batch = self.collate_fn([self.dataset[i] for i in self.frozen_batches[0][:EXAMPLES]])
        mark = True if self._training is None else self._training.first_batch
        return {**batch, "dummy": mark}


def mark_dummy_batch(iterator: EpochBatchIterator, training: EpochBatchIterator | None) -> None:
    """Give an iterator of fairseq's class the mark; one of another class is not changed."""
    if type(iterator) is EpochBatchIterator:
        iterator.__class__ = WithMarkedDummy
        iterator._training = training
