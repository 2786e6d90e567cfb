"""What other packages may add: names once, and what an entry must give."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from numbered_split import CLASSES, LENGTHS, dataset
from torch import nn

from mixkd_plugin import MixupModel, register_distance, register_mixup_kind, register_pairing
from mixkd_plugin.data.mixup_kinds import MIXUP_KINDS, TokenMixer
from mixkd_plugin.data.mixup_plan import PAIRINGS, Examples, draw_plan
from mixkd_plugin.losses import DISTANCES, distance
from mixkd_plugin.mixup import Mix, union_rows
from mixkd_plugin.models.encode import logits_of

LOGITS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
N = 7


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test registers is gone after it."""
    for registry in (DISTANCES, PAIRINGS, MIXUP_KINDS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.mark.parametrize(
    "register, flag, names",
    [
        (register_distance, "--distill-distance", ("mse", "kl", "ce")),
        (register_pairing, "--mixup-pairing", ("random", "length")),
        (register_mixup_kind, "--mixup-kind", ("interpolate", "splice", "span")),
    ],
)
def test_a_name_is_taken_once(register, flag, names):
    register("mine")(lambda *_: None)
    for name in (*names, "mine"):
        with pytest.raises(ValueError, match=f"{flag} {name} is already registered"):
            register(name)(lambda *_: None)


# --- distances ---


def test_a_distance_is_the_sum_of_its_rows():
    register_distance("l1")(lambda s, t: (s - t).abs().sum(1))
    register_distance("hot", has_temperature=True)(lambda s, t, T: T * (s - t).abs().sum(1))
    student, teacher_logits = LOGITS.half()
    expected = (student.float() - teacher_logits.float()).abs().sum()
    torch.testing.assert_close(distance("l1", student, teacher_logits, 3.0), expected)
    torch.testing.assert_close(distance("hot", student, teacher_logits, 3.0), 3 * expected)


def test_no_gradient_of_a_registered_distance_reaches_the_teacher():
    register_distance("l1")(lambda s, t: (s - t).abs().sum(1))
    student, teacher_logits = LOGITS.clone().requires_grad_().unbind()
    assert not distance("l1", student.detach(), teacher_logits).requires_grad


@pytest.mark.parametrize(
    "function, shape",
    [(lambda s, t: (s - t).abs().mean(), r"\(\)"), (lambda s, t: (s - t).abs(), r"\(5, 3\)")],
)
def test_a_distance_gives_one_value_for_each_row(function, shape):
    register_distance("wrong")(function)
    with pytest.raises(ValueError, match=rf"--distill-distance wrong must .* \(5,\), got {shape}"):
        distance("wrong", *LOGITS)


# --- pairing rules ---


def test_a_rule_sees_ids_lengths_and_labels_of_the_eligible():
    seen = []

    @register_pairing("watched")
    def watched(examples, rng):
        seen.append(examples)
        return rng.permutation(len(examples.ids))

    drawer = partial(draw_plan, ratio=1, alpha=0.4, pairing="watched", seed=1)
    indices = np.arange(1, 101, 2)
    data = dataset(indices=indices, draw_plan=drawer, classes=CLASSES)
    data.filter_indices_by_size(data.ordered_indices(), 20)
    assert len(data[0]["partners"]) == 1
    kept = indices[LENGTHS[indices] <= 20]
    for examples in seen[-2:]:  # drawn anew, twice, without those that are too long
        assert examples.ids.tolist() == kept.tolist()
        assert examples.lengths.tolist() == LENGTHS[kept].tolist()
        assert examples.labels.tolist() == CLASSES[kept].tolist()


def examples():
    return Examples(np.arange(N), np.arange(N), np.zeros(N, dtype=np.int64))


def test_columns_and_epochs_draw_from_streams_of_their_own():
    register_pairing("mine")(lambda examples, rng: rng.randint(N, size=N))
    drawn = [draw_plan(examples(), 2, 1, "mine", 1, epoch) for epoch in (1, 2)]
    columns = {tuple(column) for plan in drawn for column in plan.partners.T}
    assert len(columns) == 4


@pytest.mark.parametrize(
    "rule, found",
    [
        (lambda e, rng: rng.permutation(N - 1), r"int64 of shape \(6,\)"),
        (lambda e, rng: rng.permutation(N)[:, None], r"int64 of shape \(7, 1\)"),
        (lambda e, rng: rng.rand(N), r"float64 of shape \(7,\)"),
        (lambda e, rng: rng.permutation(N) + 1, "1 to 7"),
        (lambda e, rng: rng.permutation(N) - 1, "-1 to 5"),
        (lambda e, rng: np.random.permutation(N), "other partners when called again"),
        (lambda e, rng: e.lengths.__iadd__(1) % N, "other partners when called again"),
    ],
    ids=["short", "columns", "floats", "too high", "negative", "own random numbers", "in place"],
)
def test_a_rule_gives_positions_that_depend_on_its_arguments_alone(rule, found):
    register_pairing("wrong")(rule)
    with pytest.raises(ValueError, match=f"--mixup-pairing wrong: the rule must .*, got {found}"):
        draw_plan(examples(), 1, 0.4, "wrong", seed=1, epoch=1)


def test_a_loader_worker_need_not_know_the_rule():
    """One that is spawned imports what it unpickles, and no user directory."""
    register_pairing("mine")(lambda examples, rng: rng.permutation(len(examples.ids)))
    drawer = partial(draw_plan, ratio=1, alpha=0.4, pairing="mine", seed=1)
    data = dataset(draw_plan=drawer, classes=CLASSES)
    expected, drawn = data[5], pickle.dumps(data)
    del PAIRINGS._entries["mine"]
    assert pickle.loads(drawn)[5]["partners"] == expected["partners"]
    with pytest.raises(
        ValueError, match="--mixup-pairing must be one of random, length.*, got mine"
    ):
        data.set_epoch(2)


# --- kinds of mix ---


def mixed_by(rule, lam=0.5):
    register_mixup_kind("mine")(rule)
    mixer = TokenMixer(["mine"], (0, 2), pad=1)
    texts = ([0, 10, 11, 12, 13, 2], [0, 20, 21, 2])
    example, partner = ({"net_input.src_tokens": torch.tensor(text)} for text in texts)
    mixed, share = mixer.mix(example, partner, lam, 0, (0.2, 0.9))
    return mixed["net_input.src_tokens"].tolist(), share


def test_a_kind_says_which_tokens_and_in_which_order():
    seen = []

    def turned(own, partner, cuts):
        seen.append((own, partner, cuts))
        return np.arange(own.length, own.length + partner.kept).tolist() + [*range(own.kept)][::-1]

    assert mixed_by(turned) == ([0, 20, 11, 10, 2], 2 / 3)
    assert seen[-1] == ((4, 2), (2, 1), (0.2, 0.9))


@pytest.mark.parametrize(
    "rule",
    [
        lambda own, partner, cuts: [*range(own.kept)],
        lambda own, partner, cuts: [*range(own.kept + partner.kept + 1)],
        lambda own, partner, cuts: [-1] * (own.kept + partner.kept),
        lambda own, partner, cuts: [own.length + partner.length] * (own.kept + partner.kept),
        lambda own, partner, cuts: [0.0] * (own.kept + partner.kept),
        lambda own, partner, cuts: None,
        lambda own, partner, cuts: np.random.randint(9, size=own.kept + partner.kept),
    ],
    ids=["too few", "too many", "negative", "too high", "floats", "none", "own random numbers"],
)
def test_a_kind_that_gives_other_positions_is_refused_before_training(rule):
    with pytest.raises(ValueError, match="--mixup-kind mine: the rule must"):
        mixed_by(rule)


def test_a_kind_of_random_numbers_of_its_own_is_refused():
    def shuffled(own, partner, cuts):
        positions = [*range(own.kept), *range(own.length, own.length + partner.kept)]
        return np.random.permutation(positions)

    with pytest.raises(ValueError, match="--mixup-kind mine: .* its arguments alone"):
        mixed_by(shuffled)


# --- encoders ---


class Mean(MixupModel):
    """The mean of a text's embeddings."""

    def features(self, embeddings, real):
        return embeddings.sum(1) / real.sum(1, keepdim=True)


def mean(width=4, cls=Mean):
    model = cls(nn.Embedding(9, 4, padding_idx=1), width)
    model.register_classification_head("head", 2)
    return model


def test_what_is_padding_is_zero_to_an_encoder():
    model = mean()
    model.embed_tokens.weight.data[1] = 7.0
    tokens = torch.tensor([[0, 5, 2], [0, 2, 1]])
    logits, _ = model(tokens, classification_head_name="head")
    embedded = [model.embed_tokens.weight[row[row != 1]].mean(0) for row in tokens]
    expected = model.classification_heads["head"](torch.stack(embedded))
    torch.testing.assert_close(logits, expected)


def test_an_encoder_gives_the_width_that_it_said():
    with pytest.raises(ValueError, match=r"Mean.features must .* \(1, 5\), got \(1, 4\)"):
        mean(width=5)(torch.tensor([[0, 2]]), classification_head_name="head")


def test_an_encoder_knows_what_is_padding():
    with pytest.raises(ValueError, match="Mean: embed_tokens has no padding_idx"):
        Mean(nn.Embedding(9, 4), 4)


def test_an_encoder_may_mix_elsewhere():
    """Both as a student and as a teacher."""

    class Late(Mean):
        def encode_rows(self, head, tokens, mix, with_clean):
            own, partners, _ = union_rows(tokens, mix.partner_tokens, 1)
            logits = [super(Late, self).encode_rows(head, t, None, True) for t in (own, partners)]
            return mix.lam[:, None] * logits[0] + (1 - mix.lam[:, None]) * logits[1]

    late = mean(cls=Late)
    tokens, partners = torch.tensor([[0, 5, 2]]), torch.tensor([[0, 6, 7, 2], [0, 3, 2, 1]])
    mix = Mix(partners, torch.tensor([0.3, 0.4]), False, torch.tensor([False, True]), pad=1)
    tokens, of_model = mix.model_input(tokens)  # a text beside an interpolation
    logits = logits_of(late, "head", tokens, of_model, True)
    own, partner, text = (
        Mean.encode_rows(late, "head", torch.tensor([row]), None, True)
        for row in ([0, 5, 2], [0, 6, 7, 2], [0, 3, 2])
    )
    torch.testing.assert_close(logits, torch.cat([0.3 * own + 0.7 * partner, text]))

    tokens, partners = torch.tensor([[0, 5, 2]]), torch.tensor([[0, 6, 7, 2]])
    logits, _ = late(tokens, classification_head_name="head", mix=Mix(partners, torch.ones(1)))
    expected = Mean.encode_rows(late, "head", tokens, None, True)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(
        logits_of(late, "head", tokens, Mix(partners, torch.zeros(1), False), True),
        Mean.encode_rows(late, "head", partners, None, True),
    )
