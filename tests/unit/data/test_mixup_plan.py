"""The plan of mixes, the choice of a part, the order: pure functions of their arguments."""

import numpy as np
import pytest
from scipy import stats

from mixkd_plugin.data.mixup_plan import (
    LENGTH_BUCKET,
    Examples,
    draw_plan,
    order_by_length,
    stratified_subset,
)

LENGTHS = np.random.RandomState(0).geometric(0.08, size=1000) + 2


def of_lengths(lengths):
    return Examples(np.arange(len(lengths)), lengths, np.zeros(len(lengths), dtype=np.int64))


def plan(n=1000, ratio=1, alpha=0.4, pairing="random", seed=1, epoch=1):
    return draw_plan(of_lengths(LENGTHS[:n]), ratio, alpha, pairing, seed, epoch)


@pytest.mark.parametrize("pairing", ["random", "length"])
@pytest.mark.parametrize("n", [2, 3, 64, 65, 66, 127, 128, 129, 1000])
def test_each_example_is_partner_equally_often_and_never_its_own(pairing, n):
    for epoch in range(1, 6):
        partners = plan(n, ratio=2, pairing=pairing, epoch=epoch).partners
        for column in partners.T:
            assert sorted(column) == list(range(n))
            assert (column != np.arange(n)).all()


def test_a_single_example_is_mixed_with_itself():
    partners, lam, *_ = plan(n=1, ratio=3)
    assert partners.tolist() == [[0, 0, 0]] and lam.shape == (1, 3)


@pytest.mark.parametrize("pairing", ["random", "length"])
def test_plan_depends_on_seed_and_epoch_alone(pairing):
    np.random.seed(5)
    first = plan(pairing=pairing)
    np.random.seed(6)
    again = plan(pairing=pairing)
    assert np.array_equal(first.partners, again.partners) and np.array_equal(first.lam, again.lam)
    for other in (plan(pairing=pairing, epoch=2), plan(pairing=pairing, seed=2)):
        assert (first.partners != other.partners).mean() > 0.9
        assert (first.lam != other.lam).mean() > 0.99


def test_plan_is_the_same_under_every_numpy():
    """Frozen figures: stored teacher outputs and resumed runs rely on them."""
    partners, lam, kinds, cuts = draw_plan(
        of_lengths(np.arange(6)), 1, 0.4, "random", seed=1, epoch=1, kinds=3
    )
    assert partners.ravel().tolist() == [4, 5, 0, 1, 3, 2]
    frozen = [0.99707838, 0.51731255, 0.33495283, 0.35677828, 0.78865919, 0.24244575]
    np.testing.assert_allclose(lam.ravel(), frozen, rtol=1e-6)
    assert kinds.ravel().tolist() == [1, 1, 1, 1, 1, 2]
    frozen = [[0.73561786, 0.06223043], [0.06442627, 0.37506425]]
    np.testing.assert_allclose(cuts[:2, 0], frozen, rtol=1e-6)


def test_kinds_are_drawn_for_each_mix_and_change_nothing_else():
    plain = draw_plan(of_lengths(LENGTHS), 2, 0.4, "length", seed=1, epoch=1)
    drawn = draw_plan(of_lengths(LENGTHS), 2, 0.4, "length", seed=1, epoch=1, kinds=3)
    assert plain.kinds is None and plain.cuts is None
    assert np.array_equal(plain.partners, drawn.partners) and np.array_equal(plain.lam, drawn.lam)
    assert drawn.kinds.shape == (1000, 2) and drawn.cuts.shape == (1000, 2, 2)
    assert stats.chisquare(np.bincount(drawn.kinds.ravel())).pvalue > 0.01
    assert stats.kstest(drawn.cuts.ravel(), stats.uniform.cdf).pvalue > 0.01
    other = draw_plan(of_lengths(LENGTHS), 2, 0.4, "length", seed=1, epoch=2, kinds=3)
    assert (other.kinds != drawn.kinds).mean() > 0.5 and (other.cuts != drawn.cuts).mean() > 0.99


@pytest.mark.parametrize("alpha", [0.4, 2.0])
def test_lam_follows_beta_for_each_mixed_row(alpha):
    lam = plan(ratio=5, alpha=alpha).lam
    assert lam.shape == (1000, 5) and len(np.unique(lam)) > 4000
    assert stats.kstest(lam.ravel(), stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_length_pairing_saves_padding_and_still_varies():
    by_length, at_random = plan(pairing="length"), plan(pairing="random")

    def padding(p):
        return np.abs(LENGTHS - LENGTHS[p.partners[:, 0]]).mean()

    assert padding(by_length) < 0.2 * padding(at_random)
    seen = {plan(pairing="length", epoch=e).partners[10, 0] for e in range(1, 40)}
    assert len(seen) > 20


def test_length_partners_come_from_one_bucket():
    lengths = np.arange(1000)
    partners = draw_plan(of_lengths(lengths), 1, 0.4, "length", 1, 1).partners[:, 0]
    assert np.abs(partners - lengths).max() <= LENGTH_BUCKET


def test_subset_is_stratified_and_nested():
    """Of those without a label, -1, as of a class."""
    labels = np.random.RandomState(1).choice([-1, 0, 1], size=2000, p=[0.7, 0.25, 0.05])
    fractions = (0.01, 0.1, 0.5, 1.0)
    parts = [stratified_subset(labels, f, seed=1) for f in fractions]
    for smaller, larger in zip(parts, parts[1:]):
        assert set(smaller) < set(larger)
    for fraction, part in zip(fractions, parts):
        kept, all_of_it = np.bincount(1 + labels[part]), np.bincount(1 + labels)
        assert (np.abs(kept - fraction * all_of_it) <= 0.5).all()
        assert (np.diff(part) > 0).all()
    assert len(parts[-1]) == 2000
    assert set(parts[1]) != set(stratified_subset(labels, 0.1, seed=2))


def test_a_class_has_the_same_part_whatever_the_others():
    labels = np.random.RandomState(1).choice([-1, 0, 1], size=1000, p=[0.5, 0.3, 0.2])
    parts = [stratified_subset(of, 0.1, 3) for of in (labels, np.where(labels < 0, 2, labels))]
    assert np.array_equal(*(part[labels[part] >= 0] for part in parts))


def test_subset_keeps_one_example_of_a_rare_class():
    labels = np.array([0] * 500 + [1])
    assert 500 in stratified_subset(labels, 0.001, seed=1)


def test_order_by_length_sorts_and_shuffles_equals():
    order = order_by_length(LENGTHS, seed=1, epoch=1)
    assert sorted(order) == list(range(1000)) and (np.diff(LENGTHS[order]) >= 0).all()
    other = order_by_length(LENGTHS, seed=1, epoch=2)
    assert (order != other).mean() > 0.5
