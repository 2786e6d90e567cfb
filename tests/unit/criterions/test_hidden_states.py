"""--hidden-weight: hidden states of student and teacher, against fairseq's own pass."""

import pytest
import torch
from criterion_run import CLASSES, Run, weight_flags
from fairseq.models.roberta import RobertaModel
from tiny_models import HEAD, LAM, PAD, PARTNERS, X, build
from toy import make_data

from mixkd_plugin.losses import hidden_distance
from mixkd_plugin.mixup import Mix, stack_rows
from mixkd_plugin.models.encode import encode
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hidden")
    return make_data(folder, {"train": 40, "valid": 20}, labels=("0", "1", "2"))


def theirs(model, tokens, mix=None):
    """fairseq's states after each layer, (R, T, D)."""
    more = {}
    if mix is not None:
        embed = model.encoder.sentence_encoder.embed_tokens
        tokens, more["token_embeddings"] = stack_rows(embed, tokens, mix)
    _, extra = model.encoder.extract_features(tokens, return_all_hiddens=True, **more)
    states = [state.transpose(0, 1) for state in extra["inner_states"][1:]]
    return states, tokens.ne(PAD)


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize(
    "mix",
    [None, Mix(PARTNERS, LAM), Mix(PARTNERS, LAM, with_clean=False)],
    ids=["clean", "both", "mixes"],
)
def test_states_are_fairseqs_and_zero_at_padding(mix, pre_norm, padding_free):
    model = build(MixKDRobertaModel, 0, encoder_normalize_before=pre_norm)
    states: list = []
    logits = encode(model, HEAD, X, mix, padding_free, states)
    torch.testing.assert_close(logits, encode(model, HEAD, X, mix, padding_free))
    wanted, mask = theirs(model, X, mix)
    assert len(states) == len(wanted) == 2
    for state, expected in zip(states, wanted):
        assert state.shape == expected.shape and not state[~mask].any()
        torch.testing.assert_close(state[mask], expected[mask], rtol=1e-4, atol=1e-5)


def distance_of_rows(student, teacher):
    """One sequence (T, D) of every layer at a time; as many layers each."""
    errors = [
        ((own - target) ** 2).sum(-1) / (target**2).sum(-1) for own, target in zip(student, teacher)
    ]
    return torch.stack(errors).mean()


def reference(run, mix):
    """Summed over clean sequences and, divided by the ratio, over mixes: one at a time."""
    tokens = run.sample["net_input"]["src_tokens"]
    total, ratio = 0, len(mix.lam) // len(tokens)
    rows = [(t[None], None, 1) for t in tokens] if mix.with_clean else []
    for m, (partner, lam) in enumerate(zip(mix.partner_tokens, mix.lam)):
        if mix.is_text is True:
            rows.append((partner[None], None, ratio))
        else:
            alone = Mix(partner[None], lam[None], with_clean=False)
            rows.append((tokens[m % len(tokens)][None], alone, ratio))
    for row, mixed, share in rows:
        states = []
        for model in (run.student, run.teacher_model):
            found, mask = theirs(model, row, mixed)
            states.append([state[mask] for state in found])
        total = total + distance_of_rows(states[0], [s.detach() for s in states[1]]) / share
    return total


@pytest.mark.parametrize("ratio, kind", [(1, "splice"), (3, "interpolate")])
@pytest.mark.parametrize("weights", [(1, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 0)], ids=str)
def test_loss_and_gradient(data, ratio, kind, weights):
    flags = ["--mixup-ratio", ratio, "--mixup-kind", kind, "--hidden-weight", 3]
    run = Run(data, False, *weight_flags(weights), *flags)
    run.criterion.weights = run.criterion.weights._replace(hidden=0)
    run.task.declare_weights(run.criterion.weights._replace(hidden=3))
    without, _, _ = run.loss()  # the same batch, without the term
    run.weigh(hidden=3.0)
    loss, size, output = run.loss()
    wanted = reference(run, run.task.complete(run.sample)[0]["mix"])
    torch.testing.assert_close(output["hidden_loss"], wanted.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, without + 3 * wanted, rtol=1e-4, atol=1e-5)
    both = run.gradients(loss), run.gradients(without + 3 * wanted)
    torch.testing.assert_close(*both, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("regression", [False, True])
def test_without_mixes_it_is_of_the_examples(data, tmp_path, regression):
    if regression:
        data = make_data(tmp_path, {"train": 40, "valid": 20}, targets=CLASSES)
    run = Run(data, regression, *weight_flags((1, 1, 0, 0)), "--hidden-weight", 1)
    _, sample_size, output = run.loss()
    rows = []
    for tokens in run.sample["net_input"]["src_tokens"]:
        of_both = (theirs(model, tokens[None]) for model in (run.student, run.teacher_model))
        rows.append(distance_of_rows(*([s[mask] for s in states] for states, mask in of_both)))
    wanted = torch.stack(rows).mean().detach()  # over sequences, whatever the targets
    found = output["hidden_loss"] / sample_size
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def states(layers, rows=2, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(layers, rows, 5, width, generator=generator))


@pytest.mark.parametrize("deep, layers", [(6, [2, 4, 6]), (3, [1, 2, 3]), (7, [2, 5, 7])])
def test_layers_are_matched_by_their_depth(deep, layers):
    teacher = states(deep)
    student = [teacher[at - 1].clone() for at in layers]
    assert hidden_distance(student, teacher).abs().max() == 0
    student[1] = student[1] + 0.1
    error = 0.01 * 8 / teacher[layers[1] - 1].square().sum(-1)
    torch.testing.assert_close(hidden_distance(student, teacher), error.mean(1) / 3)


def test_a_student_deeper_than_its_teacher():
    teacher = states(1)
    assert hidden_distance([teacher[0]] * 3, teacher).abs().max() == 0


def test_the_scale_of_an_encoder_and_more_padding_change_nothing():
    student, teacher = states(2), states(4, seed=1)
    wanted = hidden_distance(student, teacher)
    for factor in (1e-3, 1e3):
        scaled = [[factor * s for s in of_one] for of_one in (student, teacher)]
        torch.testing.assert_close(hidden_distance(*scaled), wanted)
    padded = [torch.nn.functional.pad(s, (0, 0, 0, 3)) for s in teacher]
    torch.testing.assert_close(hidden_distance(student, padded), wanted)
    half = [s.half() for s in student], [s.half() for s in teacher]
    found = hidden_distance(*half)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3)


def test_another_width_is_refused():
    with pytest.raises(ValueError, match="--hidden-weight must be 0 .* got 8 and 12"):
        hidden_distance(states(2), states(2, width=12))


def test_states_that_are_not_finite_are_counted(data):
    run = Run(data, False, *weight_flags((1, 0, 0, 1)), "--hidden-weight", 1)
    layer = run.teacher_model.encoder.sentence_encoder.layers[0]
    layer.fc2.bias.data[0] = float("inf")
    for head in run.teacher_model.classification_heads.values():  # which hides it in the logits
        head.dense.weight.data.zero_()
    sample, bad = run.task.complete(run.sample)
    assert bad == 16
    assert not torch.stack(sample["teacher_states"]).any()
    # fairseq would skip an update of infinite gradients in half precision, before the error
    loss, _, _ = run.criterion(run.student, sample)
    assert all(g.isfinite().all() and g.abs().max() < 1e4 for g in run.gradients(loss))


def test_fairseqs_roberta_is_no_student(data):
    run = Run(data, False, *weight_flags((1, 0, 0, 0)), "--hidden-weight", 1)
    plain = build(RobertaModel, 0, words=len(run.task.dictionary) - 4)
    with pytest.raises(ValueError, match="--hidden-weight needs a student of --arch mixkd_roberta"):
        run.task.begin_epoch(1, plain)
