"""Marks a rank's dummy batch.

A rank without a batch computes fairseq's dummy batch, the first one of the data. fairseq does not
mark it, so that a task cannot exclude it from logging and from the teacher.
Upstream: not reported.

It acts on each batch iterator of our tasks: fairseq's task makes them, of a class that it names.
"""

from fairseq.data.iterators import EpochBatchIterator


class WithMarkedDummy(EpochBatchIterator):
    """fairseq's iterator, which marks its first batch: the trainer makes dummy batches of it."""

    @property
    def first_batch(self):
        batch = super().first_batch
        return {**batch, "dummy": True} if isinstance(batch, dict) else batch


def mark_dummy_batch(iterator: EpochBatchIterator) -> None:
    """Give an iterator of fairseq's class the mark; one of another class is not changed."""
    if type(iterator) is EpochBatchIterator:
        iterator.__class__ = WithMarkedDummy
