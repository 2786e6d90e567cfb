"""Jagged attention on a device against fairseq's padded pass: DEVICE RECORD.

Without dropout: logits and gradients, each against a padded pass in float64. With dropout: mean and
spread of the logits over many draws. Exits with 1 where a figure is beyond its bound.
"""

import json
import sys
import time
from pathlib import Path

import torch
from tiny_models import HEAD, build, rows

from mixkd_plugin.mixup import Mix
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.modules import packed_attention, packed_encoder

SIZE = dict(
    encoder_layers=3, encoder_embed_dim=96, encoder_ffn_embed_dim=192, encoder_attention_heads=6,
    dropout=0.0,
)  # fmt: skip
# error relative to the largest value; half precision: times the padded pass's own
BOUNDS = {torch.float32: 1e-4, torch.float16: 3.0, torch.bfloat16: 3.0}
DRAWS = {"cpu": 150, "cuda": 400}


def batch(device):
    generator = torch.Generator().manual_seed(1)
    lengths, partners = (torch.randint(2, 30, (16,), generator=generator) for _ in range(2))
    mix = Mix(rows(*partners.tolist(), seed=1), torch.rand(16, generator=generator))
    return rows(*lengths.tolist()).to(device), mix._replace(
        partner_tokens=mix.partner_tokens.to(device), lam=mix.lam.to(device)
    )


def one_pass(model, padding_free, x, mix):
    model.args.padding_free = "on" if padding_free else "off"
    return model(x, features_only=True, classification_head_name=HEAD, mix=mix)[0]


def both(model, padding_free, x, mix):
    """Logits and all gradients as two vectors in float64."""
    model.zero_grad()
    logits = one_pass(model, padding_free, x, mix)
    logits.float().square().sum().backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return logits.detach().double().flatten(), torch.cat(gradients).double()


def seconds(model, padding_free, x, mix, device) -> float:
    """Of a forward and a backward pass, after three others."""
    for count in (3, 5):
        start = time.perf_counter()
        for _ in range(count):
            both(model, padding_free, x, mix)
        if device == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def compare(device) -> list:
    x, mix = batch(device)
    table = []
    for dtype, bound in BOUNDS.items():
        model = build(MixKDRobertaModel, 0, attention_dropout=0.0, **SIZE).to(device)
        assert packed_encoder.can_pack(model, HEAD, x)
        truths = both(model.double(), False, x, mix)
        model.to(dtype)
        ours, theirs = (both(model, padding_free, x, mix) for padding_free in (True, False))
        for what, our, their, truth in zip(("logits", "gradients"), ours, theirs, truths):
            error, other = (
                float((v - truth).abs().max() / truth.abs().max()) for v in (our, their)
            )
            limit = bound if dtype == torch.float32 else max(bound * other, 1e-3)
            table.append(
                {"check": f"{what}, {dtype}", "jagged": error, "padded": other, "bound": limit}
            )
        times = [seconds(model, padding_free, x, mix, device) for padding_free in (True, False)]
        names = ("jagged", "padded")
        table.append({"check": f"seconds, {dtype}", **dict(zip(names, times)), "bound": ""})
    return table


def draws_of_dropout(device) -> list:
    """Mean and spread over draws of attention's dropout; both passes draw independently."""
    x, mix = batch(device)
    model = build(MixKDRobertaModel, 0, attention_dropout=0.3, **SIZE).to(device).train()
    count = DRAWS[device]
    torch.manual_seed(1)
    with torch.no_grad():
        ours, theirs = (
            torch.stack([one_pass(model, free, x, mix) for _ in range(count)]).double()
            for free in (True, False)
        )
    error = ((ours.var(0) + theirs.var(0)) / count).sqrt()
    distance = float(((ours.mean(0) - theirs.mean(0)).abs() / error).max())
    spread = [float(v.std(0).mean()) for v in (ours, theirs)]
    return [
        {"check": "dropout: means, in standard errors", "jagged": distance, "padded": 0.0,
         "bound": 5.0},
        {"check": "dropout: spread of the jagged pass over the padded one's, off 1",
         "jagged": abs(spread[0] / spread[1] - 1), "padded": 0.0, "bound": 0.1},
    ]  # fmt: skip


def main(device: str, record: Path) -> int:
    if device == "cpu":  # which takes another way by itself
        packed_encoder.attend = packed_attention.attend_jagged
    table = compare(device) + draws_of_dropout(device)
    record.write_text(json.dumps(table))
    bad = [row for row in table if row["bound"] != "" and not row["jagged"] <= row["bound"]]
    for row in bad:
        print("beyond its bound:", row)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
