"""The padding-free pass against fairseq's own: logits and every gradient."""

import logging

import pytest
import torch
from fairseq.models.roberta import RobertaModel
from fairseq.modules import gelu
from tiny_models import HEAD, PAD, build, rows
from torch import nn

from mixkd_plugin.mixup import Mix
from mixkd_plugin.models.encode import encode
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.modules import packed_attention, packed_encoder

LAYOUTS = {
    "pre-LN": {"encoder_normalize_before": True, "layernorm_embedding": False},
    "post-LN": {"encoder_normalize_before": False, "layernorm_embedding": True},
    "bare": {"layernorm_embedding": False, "no_token_positional_embeddings": True},
    "scaled": {"no_scale_embedding": False, "encoder_layers": 1},
}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}

# lengths of the examples, and of their partners
ROWS = {
    "all lengths": ([3, 9, 2, 7], [9, 4, 2, 8]),
    "one token": ([1, 1, 5], [1, 6, 1]),
    "equal lengths": ([6, 6, 6], [6, 6, 6]),
    "one row": ([7], [3]),
    "ratio 2": ([3, 9], [4, 4, 12, 1]),
    "ratio 3": ([5, 2], [4, 7, 1, 2, 3, 8]),
    "ratio 0": ([3, 9, 2, 7], None),
}


def batch(lengths, partner_lengths):
    if partner_lengths is None:
        return rows(*lengths), None
    lam = torch.rand(len(partner_lengths), generator=torch.Generator().manual_seed(5)).double()
    return rows(*lengths), Mix(rows(*partner_lengths, seed=1), lam)


def both_passes(model, x, mix):
    """Logits and gradients: fairseq's, ours. The loss weighs every logit differently."""
    results = []
    for padding_free in (False, True):
        model.zero_grad()
        logits = encode(model, HEAD, x, mix, padding_free)
        (logits * torch.linspace(-1, 2, logits.numel()).view_as(logits).to(logits)).sum().backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((logits.detach(), gradients))
    return results


def assert_equal_passes(model, x, mix):
    tolerance = TOLERANCE[next(model.parameters()).dtype]
    (logits, gradients), (our_logits, our_gradients) = both_passes(model, x, mix)
    torch.testing.assert_close(our_logits, logits, rtol=tolerance, atol=tolerance)
    assert set(our_gradients) == set(gradients)
    largest = max(g.abs().max() for g in gradients.values())
    for name, gradient in gradients.items():
        difference = (our_gradients[name] - gradient).abs().max()
        assert difference <= tolerance * max(largest, 1), name


@pytest.fixture(params=["grouped", "jagged"])
def way(request, monkeypatch):
    """Each way of attention, whatever suits this device."""
    if request.param == "jagged":
        monkeypatch.setattr(packed_encoder, "attend", packed_attention.attend_jagged)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("settings", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("lengths", ROWS.values(), ids=ROWS)
def test_logits_and_gradients_are_fairseqs(lengths, settings, dtype, way):
    model = build(MixKDRobertaModel, 0, **settings).to(dtype)
    assert packed_encoder.can_pack(model, HEAD, rows(3))
    assert_equal_passes(model, *batch(*lengths))


@pytest.mark.parametrize("lengths", ["all lengths", "ratio 3"])
def test_mixed_rows_alone(lengths):
    model = build(MixKDRobertaModel, 0)
    x, mix = batch(*ROWS[lengths])
    assert_equal_passes(model, x, mix._replace(with_clean=False))


def test_padding_symbols_inside_a_text_count_as_padding():
    x, mix = batch([7, 5], [6, 6])
    x[0, 3] = mix.partner_tokens[1, 2] = PAD
    assert_equal_passes(build(MixKDRobertaModel, 0), x, mix)


KINDS = ["dropout", "attention_dropout", "activation_dropout", "pooler_dropout"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_dropout_is_in_its_place(kind, way):
    """Dropout of everything is not random: the two passes must agree."""
    model = build(MixKDRobertaModel, 0, **{k: float(k == kind) for k in KINDS}).train()
    x, mix = batch(*ROWS["all lengths"])
    assert_equal_passes(model, x, mix)
    dropped = encode(model, HEAD, x, mix, True)
    assert not torch.allclose(dropped, encode(model.eval(), HEAD, x, mix, True))


def test_dropout_is_random_and_unbiased(way):
    model = build(MixKDRobertaModel, 0, dropout=0.0, attention_dropout=0.3).train()
    x, _ = batch(*ROWS["ratio 0"])
    draws = torch.stack([encode(model, HEAD, x, None, True) for _ in range(150)])
    assert draws.std(dim=0).min() > 0
    theirs = torch.stack([encode(model, HEAD, x, None, False) for _ in range(150)])
    error = (draws.std(dim=0) + theirs.std(dim=0)) / 150**0.5
    assert ((draws.mean(dim=0) - theirs.mean(dim=0)).abs() < 5 * error).all()
    torch.testing.assert_close(draws.std(dim=0), theirs.std(dim=0), rtol=0.4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_as_near_the_truth_as_fairseqs(dtype, way):
    x, mix = batch(*ROWS["all lengths"])
    truth = encode(build(RobertaModel, 0).double(), HEAD, x, mix, False)
    model = build(RobertaModel, 0).to(dtype)
    theirs, ours = (encode(model, HEAD, x, mix, free).double() for free in (False, True))
    assert (ours - truth).abs().max() <= 2 * (theirs - truth).abs().max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lengths", ROWS.values(), ids=ROWS)
def test_on_a_gpu_logits_and_gradients_are_fairseqs(lengths, dtype):
    """Flash and efficient kernels; half precision against float32."""
    x, mix = batch(*lengths)
    x, mix = x.cuda(), mix and Mix(mix.partner_tokens.cuda(), mix.lam.cuda())
    model = build(MixKDRobertaModel, 0).cuda()
    if dtype == torch.float32:
        return assert_equal_passes(model, x, mix)
    truth = encode(model, HEAD, x, mix, False)
    ours = encode(model.to(dtype), HEAD, x, mix, True)
    torch.testing.assert_close(ours.float(), truth, rtol=0.05, atol=0.05)
    model.train()
    encode(model, HEAD, x, mix, True).square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)


def hook(part):
    return lambda model: model.get_submodule(part).register_forward_hook(lambda *_: None)


def new_head(model):
    class MeanHead(nn.Module):
        def forward(self, features):
            return features.mean(dim=1)

    model.classification_heads[HEAD] = MeanHead()


def layerdrop(model):
    model.train().encoder.sentence_encoder.encoder_layerdrop = 0.2


def quantisation_noise(model):
    model.encoder.sentence_encoder.layers[1].quant_noise = 0.1


def new_attention(model):
    attention_module = model.encoder.sentence_encoder.layers[1].self_attn
    attention_module.__class__ = type("SparseAttention", (type(attention_module),), {})


def checkpointing(model):
    layer = model.encoder.sentence_encoder.layers[0]
    layer.forward = layer.forward


@pytest.mark.parametrize(
    "change, named",
    [
        (hook("encoder"), "hook"),
        (hook("encoder.sentence_encoder"), "hook"),
        (hook("encoder.sentence_encoder.embed_positions"), "hook"),
        (hook("encoder.sentence_encoder.layers.0"), "hook"),
        (hook("encoder.sentence_encoder.layers.1.self_attn"), "hook"),
        (new_head, "MeanHead"),
        (layerdrop, "--encoder-layerdrop"),
        (quantisation_noise, "--quant-noise-pq"),
        (new_attention, "SparseAttention"),
        (checkpointing, "--checkpoint-activations"),
    ],
)
def test_what_it_does_not_know_it_leaves_to_fairseq_and_says_so_once(change, named, caplog):
    model = build(MixKDRobertaModel, 0, dropout=0.0, attention_dropout=0.0)
    change(model)
    packed_encoder._log_once.cache_clear()
    x, mix = batch(*ROWS["all lengths"])
    with caplog.at_level(logging.INFO):
        on, off = (encode(model, HEAD, x, mix, free) for free in (True, False))
        encode(model, HEAD, x, mix, True)
    assert torch.equal(on, off)
    assert [named in record.message for record in caplog.records] == [True]


def test_a_layerdrop_teacher_is_whole_in_evaluation():
    model = build(RobertaModel, 0)
    model.encoder.sentence_encoder.encoder_layerdrop = 0.2
    assert packed_encoder.can_pack(model, HEAD, rows(3))


@pytest.mark.parametrize("with_mix", [True, False])
def test_nothing_is_computed_for_padding(with_mix):
    """Rows through each linear layer: one for each token, and in the last layer for <s> alone."""
    model = build(MixKDRobertaModel, 0)
    x, mix = batch(*ROWS["all lengths"])
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(
                lambda m, args, _, name=name: seen.update({name: args[0].numel() // m.in_features})
            )
    model(x, classification_head_name=HEAD, mix=mix if with_mix else None)
    lengths = x.ne(PAD).sum(1)
    count = lengths.sum()
    if with_mix:
        count = count + torch.max(lengths, mix.partner_tokens.ne(PAD).sum(1)).sum()
    n_rows = 8 if with_mix else 4
    layer = "encoder.sentence_encoder.layers.{}.{}".format
    assert seen[layer(0, "fc1")] == seen[layer(0, "self_attn.k_proj")] == count
    assert seen[layer(1, "fc1")] == seen[layer(1, "self_attn.q_proj")] == n_rows
    assert layer(1, "self_attn.k_proj") not in seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_torchs_gelu_is_fairseqs_but_for_rounding(dtype):
    x = torch.linspace(-9, 9, 4001).to(dtype).requires_grad_()
    ours, theirs = torch.nn.functional.gelu(x), gelu(x)
    half = dtype == torch.float16  # in which some processors differ in the last bit
    last_bit = {"rtol": torch.finfo(dtype).eps * half, "atol": 1e-6 * half}
    torch.testing.assert_close(ours, theirs, **last_bit)
    of_output = torch.linspace(-2, 3, 4001).to(dtype)
    gradients = (torch.autograd.grad(y, x, of_output)[0] for y in (ours, theirs))
    torch.testing.assert_close(*gradients, **last_bit)
