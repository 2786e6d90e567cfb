"""What config.json says of an encoder, under one set of names, and what RoBERTa cannot represent.

BERT, RoBERTa (XLM-R, DistilRoBERTa, CamemBERT) and DistilBERT are the same stack of layers under
different names; here are the names.
"""

import json
import math
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple


class Family(NamedTuple):
    """How the models of one kind name things.

    keys: ours -> in config.json, where they differ from BERT's
    prefix: of the encoder's weights in a model with a head
    layers: of a layer's weights
    modules: a module of a layer -> in fairseq, and the shape of its weight: h is the width, f the
        feed-forward width; the bias has the weight's first size
    masked_lm: modules of the head for masked words; its bias is ``masked_lm_bias``
    head: modules of the classification head
    head_activation: between the two
    pad: default of pad_token_id
    positions_follow_pad: the first pad + 1 rows of the position table are not used
    """

    keys: Dict[str, str]
    prefix: str
    layers: str
    modules: Dict[str, Tuple[str, str]]
    masked_lm: Dict[str, Tuple[str, str]]
    masked_lm_bias: str
    head: Tuple[str, str]
    head_activation: str
    pad: int
    positions_follow_pad: bool
    head_dropout: Optional[float] = None  # default; None: that of the layers


BERT = Family(
    keys={},
    prefix="bert.",
    layers="encoder.layer.",
    modules={
        "attention.self.query": ("self_attn.q_proj", "hh"),
        "attention.self.key": ("self_attn.k_proj", "hh"),
        "attention.self.value": ("self_attn.v_proj", "hh"),
        "attention.output.dense": ("self_attn.out_proj", "hh"),
        "attention.output.LayerNorm": ("self_attn_layer_norm", "h"),
        "intermediate.dense": ("fc1", "fh"),
        "output.dense": ("fc2", "hf"),
        "output.LayerNorm": ("final_layer_norm", "h"),
    },
    masked_lm={
        "cls.predictions.transform.dense": ("dense", "hh"),
        "cls.predictions.transform.LayerNorm": ("layer_norm", "h"),
    },
    masked_lm_bias="cls.predictions.bias",
    head=("pooler.dense", "classifier"),
    head_activation="tanh",
    pad=0,
    positions_follow_pad=False,
)
ROBERTA = BERT._replace(
    prefix="roberta.",
    masked_lm={"lm_head.dense": ("dense", "hh"), "lm_head.layer_norm": ("layer_norm", "h")},
    masked_lm_bias="lm_head.bias",
    head=("classifier.dense", "classifier.out_proj"),
    pad=1,
    positions_follow_pad=True,
)
DISTILBERT = BERT._replace(
    keys={
        "num_hidden_layers": "n_layers",
        "hidden_size": "dim",
        "intermediate_size": "hidden_dim",
        "num_attention_heads": "n_heads",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout": "seq_classif_dropout",
    },
    prefix="distilbert.",
    layers="transformer.layer.",
    modules={
        "attention.q_lin": ("self_attn.q_proj", "hh"),
        "attention.k_lin": ("self_attn.k_proj", "hh"),
        "attention.v_lin": ("self_attn.v_proj", "hh"),
        "attention.out_lin": ("self_attn.out_proj", "hh"),
        "sa_layer_norm": ("self_attn_layer_norm", "h"),
        "ffn.lin1": ("fc1", "fh"),
        "ffn.lin2": ("fc2", "hf"),
        "output_layer_norm": ("final_layer_norm", "h"),
    },
    masked_lm={"vocab_transform": ("dense", "hh"), "vocab_layer_norm": ("layer_norm", "h")},
    masked_lm_bias="vocab_projector.bias",
    head=("pre_classifier", "classifier"),
    head_activation="relu",
    head_dropout=0.2,
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
# What config.json may say; None: absent.
ALLOWED = {
    "model_type": tuple(FAMILIES),
    "hidden_act": tuple(ACTIVATIONS),
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}),
    "problem_type": (None, "single_label_classification", "regression"),
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
    model_type: str
    family: Family
    vocab_size: int
    max_position_embeddings: int  # rows of the position table
    type_vocab_size: int  # 0: the family has no token types
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    activation: str  # fairseq's name
    dropout: float
    attention_dropout: float
    head_dropout: float
    layer_norm_eps: float
    pad: Optional[int]  # index of the padding symbol, where positions depend on it
    unused_positions: int  # leading rows of the position table that no text reaches
    class_names: Optional[List[str]]  # None where config.json has none or only LABEL_0, LABEL_1
    regression: bool  # problem_type says so

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.max_position_embeddings - self.unused_positions


def read_config(folder: str) -> EncoderConfig:
    """What ``folder/config.json`` describes.

    Raises:
        ValueError: naming the file, the key and what is allowed.
    """
    path = os.path.join(folder, "config.json")
    if not os.path.isfile(path):
        raise ValueError(f"no config.json in {folder}")
    try:
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
        if not isinstance(config, dict) or not isinstance(config.get("model_type", ""), str):
            raise ValueError("it does not describe a model")
        return parse_config(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_config(config: Dict[str, Any]) -> EncoderConfig:
    family = FAMILIES.get(config.get("model_type"), BERT)

    def key(name: str) -> str:
        return family.keys.get(name, name)

    def get(name: str, default=None):
        value = config.get(key(name))
        return default if value is None else value

    for name, values in ALLOWED.items():
        if get(name) not in values:
            allowed = ", ".join(str(v) for v in values if v is not None)
            raise ValueError(f"{key(name)} is {get(name)!r}; allowed: {allowed}")
    missing = [key(n) for n in SIZES if not isinstance(get(n), int) or get(n) <= 0]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing or not a number above 0")
    width, heads = get("hidden_size"), get("num_attention_heads")
    if width % heads:
        raise ValueError(f"{key('num_attention_heads')} is {heads}; allowed: a divisor of {width}")

    def number(name: str, default: float, low: float, high: float) -> float:
        value = get(name, default)
        if not isinstance(value, (int, float)) or not low <= value < high:
            raise ValueError(f"{key(name)} is {value!r}; allowed: a number in [{low}, {high})")
        return value

    dropout = number("hidden_dropout_prob", 0.1, 0, 1)
    head_dropout = dropout if family.head_dropout is None else family.head_dropout
    eps = number("layer_norm_eps", 1e-12, 1e-30, math.inf)  # the default of all of them
    pad = get("pad_token_id", family.pad) if family.positions_follow_pad else None
    return EncoderConfig(
        model_type=get("model_type"),
        family=family,
        **{name: get(name) for name in SIZES},
        type_vocab_size=0 if family is DISTILBERT else get("type_vocab_size", 2),
        activation=ACTIVATIONS[get("hidden_act")],
        dropout=dropout,
        attention_dropout=number("attention_probs_dropout_prob", 0.1, 0, 1),
        head_dropout=number("classifier_dropout", head_dropout, 0, 1),
        layer_norm_eps=eps,
        pad=pad,
        unused_positions=0 if pad is None else pad + 1,
        class_names=_class_names(get("id2label", {})),
        regression=get("problem_type") == "regression",
    )


def _class_names(id2label: Dict[str, str]) -> Optional[List[str]]:
    if sorted(id2label) != sorted(str(i) for i in range(len(id2label))):
        raise ValueError(f"id2label has the classes {', '.join(id2label)}; allowed: 0, 1, ...")
    names = [str(id2label[i]) for i in sorted(id2label, key=int)]
    generic = [f"LABEL_{i}" for i in range(len(names))]  # what transformers writes by default
    return None if names == generic else names
