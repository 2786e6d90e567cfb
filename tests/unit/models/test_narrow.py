"""A student that begins from a wider checkpoint."""

import numpy as np
import pytest
import tiny_models
import torch
import toy
from tiny_models import HEAD, X, build

from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.models.narrow import _low_rank, principal_components
from mixkd_plugin.models.student_init import initialise_student


def save(model, path):
    return tiny_models.save(model, path, **{**vars(model.args), "arch": "mixkd_tiny"})


def student(**settings):
    return build(MixKDRobertaModel, 1, **{"encoder_embed_dim": 16, **settings})


INSIDE = ("q_proj.bias", "k_proj.bias", "v_proj.bias", "dense.bias")  # of no hidden state


def in_a_subspace(model):
    """Hidden states of width 32 stay in 16 dimensions; half of heads and units do nothing."""
    torch.manual_seed(5)
    base = torch.linalg.qr(torch.cat([torch.ones(32, 1), torch.randn(32, 15)], dim=1))[0]
    onto = base @ base.T
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("norm.weight", "layernorm_embedding.weight")):
                weight.fill_(weight.mean())
            elif name.endswith(("self_attn.out_proj.weight", "fc2.weight")):
                weight.copy_(3 * onto @ weight)
                weight.view(32, 4, -1)[:, [0, 2]] = 0
            elif name == f"classification_heads.{HEAD}.out_proj.weight":
                weight[:, ::2] = 0
            elif not name.endswith(INSIDE) and weight.size(-1) == 32:
                weight.copy_(weight @ onto * (3 if "proj" in name else 1))
    return model


@pytest.mark.parametrize("types", [1, 2])
@pytest.mark.parametrize("before", [False, True])
def test_what_stays_in_a_subspace_is_computed_exactly(tmp_path, types, before):
    settings = {"layer_norm_eps": 1e-12, "token_types": types, "encoder_normalize_before": before}
    wide = in_a_subspace(build(MixKDRobertaModel, 0, **settings))
    narrow = student(
        encoder_attention_heads=2, encoder_ffn_embed_dim=32, encoder_normalize_before=before
    )
    initialise_student(narrow, save(wide, tmp_path / "wide.pt"), "first")
    assert narrow.args.token_types == types
    wanted, got = (m(X, classification_head_name=HEAD)[0] for m in (wide, narrow))
    assert wanted.std(dim=0).min() > 0.01
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)
    assert narrow(X[:1])[0].shape == (1, X.size(1), 34)  # of the language-model head


def test_the_basis_is_the_best_one():
    states = np.random.default_rng(0).normal(size=(50, 12)) * np.arange(1, 13)
    states -= states.mean(axis=1, keepdims=True)
    basis, share = principal_components(torch.from_numpy(states.T @ states), 5)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5, dtype=torch.float64))
    ones = basis @ torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(ones, torch.full((12,), (5 / 12) ** 0.5, dtype=torch.float64))
    squares = np.linalg.svd(states, compute_uv=False) ** 2
    lost = np.square(states - states @ (basis @ basis.T).numpy()).sum()
    assert lost == pytest.approx(squares[4:].sum())
    assert share == pytest.approx(squares[:4].sum() / squares.sum())


def test_products_of_smaller_heads_are_the_nearest():
    torch.manual_seed(0)
    a, b = torch.randn(3, 8, 17), torch.randn(3, 8, 16)
    left, right = _low_rank(a, b, 4)
    assert (left.shape, right.shape) == ((3, 4, 17), (3, 4, 16))
    for head in range(3):
        product = (a[head].T @ b[head]).numpy()
        error = np.linalg.norm(product - (left[head].T @ right[head]).numpy())
        assert error == pytest.approx(
            np.linalg.norm(np.linalg.svd(product, compute_uv=False)[4:]), rel=1e-4
        )


def test_it_is_drawn_from_no_random_state(tmp_path, caplog):
    path = save(build(MixKDRobertaModel, 0, encoder_layers=3), tmp_path / "wide.pt")
    first, second = student(), student(token_types=2)
    caplog.set_level("INFO")
    initialise_student(first, path, "0,2")
    state = torch.get_rng_state()
    torch.manual_seed(9)
    drawn = torch.get_rng_state()
    initialise_student(second, path, "0,2")
    assert torch.equal(torch.get_rng_state(), drawn) and not torch.equal(state, drawn)
    theirs = second.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())
    assert not theirs["encoder.sentence_encoder.embed_tokens.types.weight"].any()
    assert "student narrowed from 32 to 16" in caplog.text


def test_a_head_of_other_classes_stays_the_students_own(tmp_path):
    wide = build(MixKDRobertaModel, 0)
    wide.register_classification_head(HEAD, num_classes=5)
    narrow = student()
    before = {k: v.clone() for k, v in narrow.classification_heads.state_dict().items()}
    initialise_student(narrow, save(wide, tmp_path / "five.pt"), "first")
    after = narrow.classification_heads.state_dict()
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"encoder_ffn_embed_dim": 65}, "--encoder-ffn-embed-dim must be 1 to 64 .*, got 65"),
        ({"encoder_attention_heads": 8}, "--encoder-attention-heads must be 2 to 4 .*, got 8"),
        ({"encoder_attention_heads": 1}, "--encoder-attention-heads must be 2 to 4 .*, got 1"),
        ({"activation_fn": "relu"}, "--activation-fn must be gelu, .*, got relu"),
        ({"pooler_activation_fn": "relu"}, "--pooler-activation-fn must be tanh, .*, got relu"),
        ({"encoder_layers": 3}, "at most the 2 layers"),
    ],
)
def test_what_cannot_begin_from_it_is_refused(tmp_path, settings, message):
    path = save(build(MixKDRobertaModel, 0), tmp_path / "wide.pt")
    with pytest.raises(ValueError, match=message):
        initialise_student(student(**settings), path, "first")


LAYER = "encoder.sentence_encoder.layers.0."


@pytest.mark.parametrize(
    "name, change, message",
    [
        (LAYER + "fc1.bias", lambda w: w.fill_(float("nan")), "its .*fc1.bias is not made of fin"),
        (f"classification_heads.{HEAD}.dense.bias", lambda w: w.fill_(float("inf")), "its .*dense"),
        (LAYER + "fc2.weight", lambda w: w[:, 1:], "fc2.weight"),
        (LAYER + "fc1.bias", lambda w: None, "fc1.bias"),
    ],
)
def test_damaged_weights_are_refused(tmp_path, name, change, message):
    wide = build(MixKDRobertaModel, 0)
    path = save(wide, tmp_path / "wide.pt")
    with toy.edited(path) as state:
        value = change(state["model"].pop(name))
        state["model"].update({} if value is None else {name: value})
    with pytest.raises(ValueError, match=f"--student-init-path .*{message}"):
        initialise_student(student(), path, "first")
