"""Marks a rank's dummy batch.

A rank without a batch computes fairseq's dummy batch, the first one of the data. fairseq does not
mark it, so that a task cannot exclude it from logging and from the teacher. After a validation it
is a validation batch, in training too. Upstream: not reported.

It acts on each batch iterator of our tasks: fairseq's task makes them, of a class that it names.
"""

from fairseq.data.iterators import EpochBatchIterator


class WithMarkedDummy(EpochBatchIterator):
    """fairseq's iterator, which marks its first batch: the trainer makes dummy batches of it.

    The mark is True, or in a run's validation the first batch of training.
    """

    _training: EpochBatchIterator | None = None

    @property
    def first_batch(self):
        batch = super().first_batch
        mark = True if self._training is None else self._training.first_batch
        return {**batch, "dummy": mark} if isinstance(batch, dict) else batch


def mark_dummy_batch(iterator: EpochBatchIterator, training: EpochBatchIterator | None) -> None:
    """Give an iterator of fairseq's class the mark; one of another class is not changed."""
    if type(iterator) is EpochBatchIterator:
        iterator.__class__ = WithMarkedDummy
        iterator._training = training
