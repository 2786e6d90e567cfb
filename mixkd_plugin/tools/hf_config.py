"""The settings of an encoder in config.json under one set of names, with checks for RoBERTa.

BERT, RoBERTa (XLM-R, DistilRoBERTa, CamemBERT) and DistilBERT are the same stack of layers under
different names, which are listed here. A missing key has transformers' default.
"""

import math
import os
from typing import Any, NamedTuple

from ..errors import in_short, prefixed
from ..interop import library
from ..tokenizers.library import read_json_if_there


class Family(NamedTuple):
    """The names that models of one kind use.

    keys: BERT's -> in config.json, where transformers does not translate
    prefix: of the encoder's weights in a model with a head
    layers: of a layer's weights
    modules: a module of a layer -> in fairseq
    masked_lm: modules of the head for masked words; its bias is ``masked_lm_bias``
    head: modules of the classification head
    head_activation: between the two
    positions_follow_pad: the first pad + 1 rows of the position table are not used
    """

    keys: dict[str, str]
    prefix: str
    layers: str
    modules: dict[str, str]
    masked_lm: dict[str, str]
    masked_lm_bias: str
    head: tuple[str, str]
    head_activation: str
    positions_follow_pad: bool


BERT = Family(
    keys={},
    prefix="bert.",
    layers="encoder.layer.",
    modules={
        "attention.self.query": "self_attn.q_proj",
        "attention.self.key": "self_attn.k_proj",
        "attention.self.value": "self_attn.v_proj",
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "self_attn_layer_norm",
        "intermediate.dense": "fc1",
        "output.dense": "fc2",
        "output.LayerNorm": "final_layer_norm",
    },
    masked_lm={
        "cls.predictions.transform.dense": "dense",
        "cls.predictions.transform.LayerNorm": "layer_norm",
    },
    masked_lm_bias="cls.predictions.bias",
    head=("pooler.dense", "classifier"),
    head_activation="tanh",
    positions_follow_pad=False,
)
ROBERTA = BERT._replace(
    prefix="roberta.",
    masked_lm={"lm_head.dense": "dense", "lm_head.layer_norm": "layer_norm"},
    masked_lm_bias="lm_head.bias",
    head=("classifier.dense", "classifier.out_proj"),
    positions_follow_pad=True,
)
DISTILBERT = BERT._replace(
    keys={
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout": "seq_classif_dropout",
    },
    prefix="distilbert.",
    layers="transformer.layer.",
    modules={
        "attention.q_lin": "self_attn.q_proj",
        "attention.k_lin": "self_attn.k_proj",
        "attention.v_lin": "self_attn.v_proj",
        "attention.out_lin": "self_attn.out_proj",
        "sa_layer_norm": "self_attn_layer_norm",
        "ffn.lin1": "fc1",
        "ffn.lin2": "fc2",
        "output_layer_norm": "final_layer_norm",
    },
    masked_lm={"vocab_transform": "dense", "vocab_layer_norm": "layer_norm"},
    masked_lm_bias="vocab_projector.bias",
    head=("pre_classifier", "classifier"),
    head_activation="relu",
)
FAMILIES = {  # by model_type
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "distilbert": DISTILBERT,
}

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_accurate",
    "gelu_pytorch_tanh": "gelu_accurate",
    "relu": "relu",
}
# Permitted values in config.json; None: absent.
ALLOWED = {
    "hidden_act": (None, *ACTIVATIONS),
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
    "auto_map": (None, {}),  # custom code, which is not run
}
SIZES = (
    "vocab_size",
    "max_position_embeddings",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)


class EncoderConfig(NamedTuple):
    theirs: Any  # transformers' own
    family: Family
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    max_position_embeddings: int  # rows of the position table
    activation: str  # fairseq's name
    dropout: float
    attention_dropout: float
    head_dropout: float
    layer_norm_eps: float
    unused_positions: int  # leading rows of the position table that no text reaches
    raw: dict[str, Any]  # config.json, for head.py

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.max_position_embeddings - self.unused_positions


def read_encoder_config(folder: str) -> EncoderConfig:
    """The encoder of ``folder/config.json``.

    Raises:
        ValueError: for a wrong value, with file and key.
    """
    path = os.path.join(folder, "config.json")
    if not os.path.isfile(path):
        raise ValueError(f"no config.json in {folder}")
    with prefixed(path):
        return parse_config(read_json_if_there(path))


def parse_config(raw: dict[str, Any]) -> EncoderConfig:
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ValueError(f"model_type must be one of {', '.join(FAMILIES)}, got {model_type!r}")
    family = FAMILIES[model_type]
    for name, values in ALLOWED.items():
        key = family.keys.get(name, name)
        if raw.get(key) not in values:
            allowed = ", ".join(str(v) for v in values if v or v is False) or "absent"
            raise ValueError(f"{key} must be {allowed}, got {raw[key]!r}")
    of_head = ("id2label", "label2id", "num_labels", "problem_type")  # head.py reads them
    mapping = library("transformers").CONFIG_MAPPING
    try:
        theirs = mapping[model_type].from_dict({k: v for k, v in raw.items() if k not in of_head})
    except Exception as error:  # transformers checks them with errors of any kind
        raise ValueError(f"transformers cannot read it: {in_short(error)}") from error

    def number(name: str, low: float, high: float, kinds: Any = (int, float)) -> Any:
        name = family.keys.get(name, name)
        value = getattr(theirs, name)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value < high:
            kind = "n integer" if kinds is int else " number"
            raise ValueError(f"{name} must be a{kind} in [{low}, {high}), got {value!r}")
        return value

    sizes = {name: number(name, 1, math.inf, int) for name in SIZES}
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    if width % heads:
        raise ValueError(f"num_attention_heads must be a divisor of {width}, got {heads}")
    unused = 0
    if family.positions_follow_pad:
        unused = number("pad_token_id", 0, sizes["max_position_embeddings"] - 1, int) + 1
    dropout = number("hidden_dropout_prob", 0, 1)
    of_head = getattr(theirs, family.keys.get("classifier_dropout", "classifier_dropout"), None)
    return EncoderConfig(
        theirs=theirs,
        family=family,
        **sizes,
        activation=ACTIVATIONS[getattr(theirs, family.keys.get("hidden_act", "hidden_act"))],
        dropout=dropout,
        attention_dropout=number("attention_probs_dropout_prob", 0, 1),
        head_dropout=dropout if of_head is None else number("classifier_dropout", 0, 1),
        layer_norm_eps=1e-12 if family is DISTILBERT else number("layer_norm_eps", 1e-30, math.inf),
        unused_positions=unused,
        raw=raw,
    )
