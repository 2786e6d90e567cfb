"""The dataset: identity of examples, batches that hold every one, partners that are eligible."""

import pickle
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.data import BaseWrapperDataset
from numbered_split import CLASSES, LENGTHS, Base, dataset

from mixkd_plugin.data.mixup_dataset import MixupDataset
from mixkd_plugin.data.mixup_kinds import TokenMixer
from mixkd_plugin.data.mixup_plan import Examples, draw_plan
from mixkd_plugin.data.wrappers import WithColumn, check_wrapper
from mixkd_plugin.teacher.sequences import TeacherSequences


@pytest.mark.parametrize("batch_size", [1, 8, 32, 500])
def test_batches_hold_every_example_and_differ_by_one_at_most(batch_size):
    data = dataset(by_length=True, length_seed=1)
    batches = data.batch_by_size(data.ordered_indices(), None, batch_size, 8)
    assert sorted(np.concatenate(batches)) == list(range(101))
    sizes = {len(b) for b in batches}
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert len(batches) == -(-101 // batch_size)


@pytest.mark.parametrize("none", [None, 0, -1])
def test_without_limits_a_batch_has_every_example(none):
    data = dataset(by_length=True, length_seed=1)
    (batch,) = data.batch_by_size(data.ordered_indices(), None, none)
    assert sorted(batch) == list(range(101))


def test_max_tokens_bounds_padded_batches_and_keeps_every_example():
    data = dataset(by_length=True, length_seed=1)
    batches = data.batch_by_size(data.ordered_indices(), 200, 32, 8)
    assert sorted(np.concatenate(batches)) == list(range(101))
    assert all(len(b) * LENGTHS[b].max() <= 200 for b in batches)


def test_fairseqs_order_and_batches_where_asked_for():
    data = dataset(keep_every_example=False)
    order = data.ordered_indices()
    assert np.array_equal(order, Base().ordered_indices())
    theirs = Base().batch_by_size(order, None, 16, 8)
    ours = data.batch_by_size(order, None, 16, 8)
    assert [len(b) for b in ours] == [16] * 6  # 101 = 6 * 16 + 5: fairseq drops the five
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs))


def test_a_part_keeps_identities_and_relative_order():
    indices = np.array([3, 10, 50, 99])
    data = dataset(indices=indices)
    assert [data[i]["id"] for i in range(4)] == indices.tolist()
    assert np.array_equal(data.sizes, LENGTHS[indices])
    whole = Base().ordered_indices().tolist()
    order = [data[i]["id"] for i in data.ordered_indices()]
    assert order == sorted(indices, key=whole.index)


def test_order_by_length_is_drawn_anew_each_epoch_without_global_randomness():
    data = dataset(by_length=True, length_seed=1)
    orders = []
    for epoch in (1, 2, 1):
        np.random.seed(len(orders))
        data.set_epoch(epoch)
        orders.append(data.ordered_indices())
        assert (np.diff(LENGTHS[orders[-1]]) >= 0).all()
    assert np.array_equal(orders[0], orders[2]) and not np.array_equal(orders[0], orders[1])
    assert not data.can_reuse_epoch_itr_across_epochs


def test_in_evaluation_batches_stay_so_that_fairseq_keeps_its_loader_workers():
    data = dataset(by_length=True)
    first = data.ordered_indices()
    data.set_epoch(2)
    assert np.array_equal(data.ordered_indices(), first) and (np.diff(LENGTHS[first]) >= 0).all()
    assert data.can_reuse_epoch_itr_across_epochs


def test_partners_and_lam_come_with_their_example_in_any_batch():
    data = dataset(ratio=2)
    data.set_epoch(4)
    plan = draw_plan(Examples(np.arange(101), LENGTHS, CLASSES), 2, 0.4, "random", 1, 4)
    batch = data.collater([data[i] for i in (7, 90, 0)])
    ids = batch["id"].repeat(2).numpy()
    columns = np.repeat([0, 1], 3)
    assert np.array_equal(batch["partner"]["id"].numpy(), plan.partners[ids, columns])
    assert np.array_equal(batch["lam"].numpy(), plan.lam[ids, columns])
    assert batch["lam"].dtype == torch.float64
    alone = data.collater([data[90]])
    assert torch.equal(alone["lam"], batch["lam"][[1, 4]])


def test_what_is_too_long_or_not_in_the_part_is_no_partner():
    indices = np.arange(0, 101, 2)
    data = dataset(ratio=3, indices=indices)
    kept, ignored = data.filter_indices_by_size(data.ordered_indices(), 20)
    assert len(ignored) > 0 and (data.sizes[kept] <= 20).all()
    partners = [p["id"] for i in kept for p in data[i]["partners"]]
    assert set(partners) == set(indices[np.sort(kept)])
    assert (LENGTHS[partners] <= 20).all()


def test_mixes_change_with_the_epoch_also_in_a_pickled_copy():
    data = dataset(ratio=1)
    seen = []
    for epoch in (1, 2):
        data.set_epoch(epoch)
        copy = pickle.loads(pickle.dumps(data))
        assert [copy[i]["lam"] for i in range(101)] == [data[i]["lam"] for i in range(101)]
        seen.append([data[i]["partners"][0]["id"] for i in range(101)])
    assert np.mean(np.array(seen[0]) != np.array(seen[1])) > 0.9


def test_an_empty_batch_stays_empty():
    assert dataset(ratio=1).collater([]) == {}


@pytest.mark.parametrize("shown, alike", [(np.nan, True), (0.0, False)])
def test_examples_without_a_target_may_be_wrapped(shown, alike):
    class HalfLabelled(Base):
        def collater(self, samples):
            targets = [s["id"] if s["id"] % 2 else np.nan for s in samples]
            return {**super().collater(samples), "target": torch.tensor(targets)}

    class Wrapper(BaseWrapperDataset):
        def collater(self, samples):
            batch = super().collater(samples)
            return {**batch, "target": batch["target"].nan_to_num(nan=shown)}

    wrapped = Wrapper(MixupDataset("train", HalfLabelled(), LENGTHS))
    with nullcontext() if alike else pytest.raises(ValueError, match="targets"):
        check_wrapper(wrapped, epoch=1)


def test_what_the_teacher_is_asked_goes_by_what_it_reads():
    """Batches of its sequences, and which those are: not by the student's vocabulary."""
    theirs = np.random.RandomState(5).randint(30, 90, size=101)
    inner = WithColumn(Base(), "teacher_tokens", SimpleNamespace(sizes=theirs))
    own, other = (
        TeacherSequences.clean(MixupDataset("train", inner, lengths), longest=100)
        for lengths in (LENGTHS, LENGTHS + 1)
    )
    batches = own.batches(500)
    assert (np.diff(theirs[np.concatenate(batches)]) >= 0).all()
    assert all(theirs[b].sum() < 500 + 90 for b in batches) and len(batches) > 10
    assert own.digest == other.digest != TeacherSequences.clean(dataset(), 100).digest


def test_logits_of_one_kind_of_mix_are_not_found_for_another():
    def digest(*kinds, epoch=1):
        mixer = TokenMixer(kinds, (0, 2), 1) if kinds else None
        drawer = partial(draw_plan, ratio=2, alpha=1, pairing="random", seed=1, kinds=len(kinds))
        data = dataset(draw_plan=drawer, classes=CLASSES, mixer=mixer)
        data.set_epoch(epoch)
        return TeacherSequences(data, data.eligible).digest

    digests = [digest(), digest("splice"), digest("span"), digest("span", "interpolate")]
    assert len({*digests, digest("splice", epoch=2)}) == 5 and digest("span") == digests[2]
    # of earlier versions: logits that are on disk are found
    assert digests[0].startswith("3ec2e2a1013c3ac9")


def test_a_mix_that_is_a_text_counts_with_its_own_length():
    mixer = TokenMixer(["splice", "interpolate"], (0, 2), 1)
    drawer = partial(draw_plan, ratio=1, alpha=1, pairing="random", seed=1, kinds=2)
    settings = {"draw_plan": drawer, "classes": CLASSES, "mixer": mixer}
    alone, beside = (dataset(with_clean=clean, **settings) for clean in (False, True))
    own, partner = LENGTHS, LENGTHS[alone.plan.partners[:, 0]]
    lam, is_text = alone.plan.lam[:, 0], alone.plan.kinds[:, 0] == 0
    mixes = np.where(is_text, np.ceil(lam * own + (1 - lam) * partner), np.maximum(own, partner))
    index = np.arange(101)
    assert np.array_equal(alone.num_tokens_vec(index), mixes)
    assert np.array_equal(beside.num_tokens_vec(index), 2 * np.maximum(own, mixes))
