"""A rank's dummy batch can be told from a batch of training examples.

A rank without a batch of its own computes fairseq's dummy batch, the first one of the data. fairseq
does not mark it, so that a task cannot leave it out of what is logged and asked of the teacher.
Upstream: not reported.

It acts on each batch iterator of our tasks: fairseq's task makes them, of a class that it names.
"""

from fairseq.data.iterators import EpochBatchIterator


class WithMarkedDummy(EpochBatchIterator):
    """fairseq's iterator, whose first batch, of which the trainer makes dummy batches, says so."""

    @property
    def first_batch(self):
        batch = super().first_batch
        return {**batch, "dummy": True} if isinstance(batch, dict) else batch


def mark_dummy_batch(iterator: EpochBatchIterator) -> None:
    """Give an iterator of fairseq's class the mark; one of another class is left alone."""
    if type(iterator) is EpochBatchIterator:
        iterator.__class__ = WithMarkedDummy
