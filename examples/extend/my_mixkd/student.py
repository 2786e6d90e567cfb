"""``--arch my_roberta``: a RoBERTa of 3 layers of 48 as the student."""

from fairseq.models import register_model_architecture
from fairseq.models.roberta.model import base_architecture


@register_model_architecture("mixkd_roberta", "my_roberta")
def my_roberta(args):
    """What a flag gives goes first, then these, then RoBERTa-base."""
    args.encoder_layers = getattr(args, "encoder_layers", 3)
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 48)
    args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 96)
    args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 4)
    base_architecture(args)
