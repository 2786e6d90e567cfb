"""The named architectures."""

from argparse import Namespace

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel

CONTRACT = {
    "mixkd_roberta": (12, 768, 3072, 12), "mixkd_roberta_base": (12, 768, 3072, 12),
    "mixkd_roberta_base_6layer": (6, 768, 3072, 12),
    "mixkd_roberta_base_3layer": (3, 768, 3072, 12),
    "mixkd_roberta_large": (24, 1024, 4096, 16),
    "mixkd_roberta_large_12layer": (12, 1024, 4096, 16),
    "mixkd_bert_base": (12, 768, 3072, 12), "mixkd_bert_base_6layer": (6, 768, 3072, 12),
    "mixkd_bert_base_3layer": (3, 768, 3072, 12),
    "mixkd_minilm": (6, 384, 1536, 12), "mixkd_minilm_3layer": (3, 384, 1536, 12),
}  # fmt: skip


def sizes(args):
    return (
        args.encoder_layers,
        args.encoder_embed_dim,
        args.encoder_ffn_embed_dim,
        args.encoder_attention_heads,
    )


@pytest.mark.parametrize("name", CONTRACT)
def test_each_architecture_has_its_sizes(name):
    args = Namespace()
    ARCH_CONFIG_REGISTRY[name](args)
    assert sizes(args) == CONTRACT[name]
    assert ARCH_MODEL_REGISTRY[name] is MixKDRobertaModel
    assert getattr(args, "token_types", None) == (2 if name.startswith("mixkd_bert") else None)


def test_robertas_own_flags_win():
    args = Namespace(encoder_layers=2, encoder_embed_dim=48)
    ARCH_CONFIG_REGISTRY["mixkd_roberta_base"](args)
    assert sizes(args) == (2, 48, 3072, 12)


def test_what_the_criterion_would_ignore_is_refused():
    with pytest.raises(ValueError, match="--mha-reg-scale-factor"):
        MixKDRobertaModel.build_model(Namespace(mha_reg_scale_factor=0.1), task=None)
