"""A position in an epoch that was taken up by another number of processes loses no batch."""

import itertools

import pytest
import torch
from fairseq.data.iterators import EpochBatchIterator, GroupedIterator

from mixkd_plugin.fairseq_fixes.epoch_position import ResumableBatches


class Numbers(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return index


def processes(batches: int, count: int, update_freq: int):
    """The iterators of so many processes over batches of two examples."""
    frozen = [[2 * i, 2 * i + 1] for i in range(batches)]
    iterators = [
        EpochBatchIterator(Numbers(), list, frozen, num_shards=count, shard_id=rank)
        for rank in range(count)
    ]
    for iterator in iterators:
        ResumableBatches.take_over(iterator, [update_freq])
    return iterators


def train(iterators, update_freq: int, most: int = 10**6):
    """The examples of each update, up to so many updates or to the end of the epoch."""
    epochs = [GroupedIterator(i.next_epoch_itr(), update_freq) for i in iterators]
    updates = []
    while epochs[0].has_next() and len(updates) < most:
        updates.append([example for e in epochs for batch in next(e) for example in batch])
    return updates


@pytest.mark.parametrize("batches", [7, 8, 24])
@pytest.mark.parametrize("before, after", list(itertools.product((1, 2, 3), repeat=2)))
@pytest.mark.parametrize("freq_before, freq_after", [(1, 1), (2, 2), (1, 3), (3, 2)])
def test_every_example_once(batches, before, after, freq_before, freq_after):
    for stop in range(100):
        first = processes(batches, before, freq_before)
        done = train(first, freq_before, stop)
        if first[0].end_of_epoch():
            break
        second = processes(batches, after, freq_after)
        for iterator in second:
            iterator.load_state_dict(first[0].state_dict())
        rest = train(second, freq_after)
        assert sorted(sum(done + rest, [])) == list(range(2 * batches))
        assert all(rest)  # no update without an example
        assert all(i.end_of_epoch() and i.next_epoch_idx == 2 for i in second)
        assert sorted(sum(train(second, freq_after), [])) == list(range(2 * batches))
    assert stop > 0


@pytest.mark.parametrize("batches, count, freq, done", [(5, 4, 2, 0), (15, 2, 2, 3), (7, 1, 4, 2)])
def test_batches_without_examples_come_first_in_their_update(batches, count, freq, done):
    """fairseq takes a process to have nothing in an update if its last batch there is empty."""
    empty_first = []
    for iterator in processes(batches, count, freq):
        state = {"epoch": 1, "iterations_in_epoch": done, "num_shards": 1, "shuffle": True}
        iterator.load_state_dict(state)
        for update in GroupedIterator(iterator.next_epoch_itr(), freq):
            assert bool(update[-1]) == any(update)
            empty_first.append(bool(update[-1]) and not update[0])
    assert any(empty_first)


def test_the_same_number_goes_on_in_the_same_order():
    whole = train(processes(9, 2, 1), 1)
    first = processes(9, 2, 1)
    done = train(first, 1, 3)
    second = processes(9, 2, 1)
    for iterator in second:
        iterator.load_state_dict(first[0].state_dict())
    assert done + train(second, 1) == whole


def test_a_checkpoint_of_fairseq_itself_is_taken_up_as_fairseq_does():
    """It does not say how many processes there were."""
    state = {"version": 2, "epoch": 1, "iterations_in_epoch": 2, "shuffle": True}
    (iterator,) = processes(5, 1, 1)
    iterator.load_state_dict(state)
    assert train([iterator], 1) == train(processes(5, 1, 1), 1)[2:]
