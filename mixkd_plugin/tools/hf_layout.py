"""How a BERT-layout encoder becomes fairseq's RoBERTa: symbols, names and shapes of weights.

- Symbols are put in fairseq's order: <s> <pad> </s> <unk> (for [CLS] [PAD] [SEP] [UNK]), the words
  in their own order, and <mask> (for [MASK]) last, where fairseq's tasks add it. The rows of the
  embedding table move along.
- Positions start at padding index + 1 in fairseq, so the position table gets two leading rows.
- RoBERTa has no token types. Row 0 of the token-type table is added to every position. Mixup
  replaces word embeddings by lam * E(x) + (1 - lam) * E(x') and pads the shorter text with zero
  vectors, so a constant kept among the words would be scaled by lam there; a position is added
  once, after mixing, with weight 1. The second text of a pair gets row 0 too, as in RoBERTa.
- fairseq's LayerNorm adds 1e-5 to the variance, BERT's 1e-12. Within the layers the variance is
  about 1 and this is nothing. But MiniLM's embeddings have a variance of 0.004: every hidden state
  would be off by 5e-4. LayerNorm does not see a common factor, so words and positions are
  multiplied by a power of two (8 for MiniLM), which is exact and leaves 3e-5. The
  masked-language-model head, which shares the word embeddings, takes the factor out again.
- The masked-language-model head comes along where the source has one. Otherwise it is RoBERTa's
  initialisation with a fixed seed: fine-tuning never reads it, and it can predict no masked word.
"""

import math
from typing import Any, Dict, List, Tuple

import torch
from fairseq.data import Dictionary
from torch import Tensor

Config = Dict[str, Any]

# The order of fairseq's Dictionary: four symbols first, <mask> last.
LEADING_SYMBOLS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]")
MASK = "[MASK]"
PADDING_INDEX = 1

FAIRSEQ_EPS = 1e-5  # of every LayerNorm in fairseq's RoBERTa
ENOUGH_VARIANCE = 0.1  # of a word's embedding, for FAIRSEQ_EPS to change it by less than 1e-4

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_accurate",
    "gelu_pytorch_tanh": "gelu_accurate",
    "relu": "relu",
}
# What config.json may say; None: absent.
ALLOWED = {
    "model_type": ("bert",),
    "hidden_act": tuple(ACTIVATIONS),
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
}
SIZES = (
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)

# A module of a layer in the source -> in fairseq, and the shape of its weight: h is hidden_size, f
# is intermediate_size. The bias has the weight's first size.
LAYER_MODULES = {
    "attention.self.query": ("self_attn.q_proj", "hh"),
    "attention.self.key": ("self_attn.k_proj", "hh"),
    "attention.self.value": ("self_attn.v_proj", "hh"),
    "attention.output.dense": ("self_attn.out_proj", "hh"),
    "attention.output.LayerNorm": ("self_attn_layer_norm", "h"),
    "intermediate.dense": ("fc1", "fh"),
    "output.dense": ("fc2", "hf"),
    "output.LayerNorm": ("final_layer_norm", "h"),
}
LM_HEAD_MODULES = {"dense": ("dense", "hh"), "LayerNorm": ("layer_norm", "h")}
# Not part of an encoder as fairseq has it: index buffers, and heads that sit on top of <s>.
IGNORED_PREFIXES = (
    "embeddings.position_ids",
    "pooler.",
    "cls.seq_relationship.",
    "cls.predictions.decoder.",  # the embeddings and the bias again
)


def check_config(config: Config) -> None:
    """Raise ValueError, naming the key, for what RoBERTa cannot represent."""
    for key, values in ALLOWED.items():
        if config.get(key) not in values:
            allowed = ", ".join(str(v) for v in values if v is not None)
            raise ValueError(f"{key} is {config.get(key)!r}; allowed: {allowed}")
    missing = [key for key in SIZES if not isinstance(config.get(key), int)]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing or not a number")
    if not 0 <= layer_norm_eps(config) <= FAIRSEQ_EPS:
        raise ValueError(f"layer_norm_eps is {config['layer_norm_eps']}; allowed: 0 to 1e-05")


def layer_norm_eps(config: Config) -> float:
    return config.get("layer_norm_eps", 1e-12)  # BERT's default


def fairseq_order(symbols: List[str], num_rows: int) -> Tuple[Dictionary, List[int]]:
    """The words as fairseq's Dictionary, without <mask>; and for each index the source's row.

    A table may have more rows than the vocabulary has symbols (padding for speed): they get
    fairseq's filler names.
    """
    missing = [s for s in (*LEADING_SYMBOLS, MASK) if s not in symbols]
    if missing:
        raise ValueError(f"the vocabulary lacks {' '.join(missing)}")
    if len(symbols) > num_rows:
        raise ValueError(
            f"the vocabulary has {len(symbols)} symbols, but config.json's vocab_size is {num_rows}"
        )
    symbols = symbols + [f"madeupword{i:04d}" for i in range(num_rows - len(symbols))]
    rows = {symbol: row for row, symbol in enumerate(symbols)}
    words = [s for s in symbols if s not in (*LEADING_SYMBOLS, MASK)]
    dictionary = Dictionary()
    for word in words:
        dictionary.add_symbol(word)
    if len(dictionary) + 1 != num_rows or "<mask>" in dictionary:
        raise ValueError(
            "the vocabulary repeats a symbol, or has one of fairseq's own: "
            "<s> <pad> </s> <unk> <mask>"
        )
    return dictionary, [rows[s] for s in (*LEADING_SYMBOLS, *words, MASK)]


class Weights:
    """The source's weights, each taken once and with the shape that it must have."""

    def __init__(self, tensors: Dict[str, Tensor], config: Config):
        # a model with a head has its encoder under "bert."
        self._left = {k[5:] if k.startswith("bert.") else k: v for k, v in tensors.items()}
        self._sizes = {"h": config["hidden_size"], "f": config["intermediate_size"]}

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *shape: int) -> Tensor:
        if name not in self._left:
            raise ValueError(f"the weights lack {name}")
        tensor = self._left.pop(name)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} instead of {shape}")
        return tensor.float()

    def take_module(self, source: str, target: str, shape: str) -> Dict[str, Tensor]:
        sizes = [self._sizes[letter] for letter in shape]
        return {
            f"{target}.weight": self.take(f"{source}.weight", *sizes),
            f"{target}.bias": self.take(f"{source}.bias", sizes[0]),
        }

    def check_nothing_left(self) -> None:
        extra = sorted(name for name in self._left if not name.startswith(IGNORED_PREFIXES))
        if extra:
            raise ValueError(f"weights that RoBERTa has no place for: {', '.join(extra[:5])}")


def convert(config: Config, tensors: Dict[str, Tensor], rows: List[int]) -> Dict[str, Tensor]:
    """State dict of fairseq's RobertaModel; rows as from :func:`fairseq_order`."""
    source = Weights(tensors, config)
    width = config["hidden_size"]
    words = source.take("embeddings.word_embeddings.weight", config["vocab_size"], width)
    positions = source.take(
        "embeddings.position_embeddings.weight", config["max_position_embeddings"], width
    )
    types = source.take("embeddings.token_type_embeddings.weight", config["type_vocab_size"], width)
    scale = embedding_scale(config, words)
    leading = torch.zeros(PADDING_INDEX + 1, width)
    state = {
        "version": torch.tensor([3.0]),  # of fairseq's TransformerEncoder
        "embed_tokens.weight": scale * words[rows],
        "embed_positions.weight": torch.cat([leading, scale * (positions + types[0])]),
        **source.take_module("embeddings.LayerNorm", "layernorm_embedding", "h"),
    }
    for i in range(config["num_hidden_layers"]):
        for theirs, (ours, shape) in LAYER_MODULES.items():
            state.update(
                source.take_module(f"encoder.layer.{i}.{theirs}", f"layers.{i}.{ours}", shape)
            )
    state = {f"encoder.sentence_encoder.{name}": tensor for name, tensor in state.items()}
    for name, tensor in lm_head(source, width, rows).items():
        state[f"encoder.lm_head.{name}"] = tensor / scale if "layer_norm" in name else tensor
    state["encoder.lm_head.weight"] = state["encoder.sentence_encoder.embed_tokens.weight"]  # tied
    source.check_nothing_left()
    return state


def embedding_scale(config: Config, words: Tensor) -> float:
    """Power of two by which embeddings grow, for fairseq's LayerNorm to act as the source's."""
    if layer_norm_eps(config) == FAIRSEQ_EPS:
        return 1.0
    variance = words.var(dim=1, unbiased=False).median().item()
    if not 0 < variance < math.inf:
        raise ValueError("the word embeddings are constant, or not finite")
    return max(1.0, 2.0 ** math.ceil(0.5 * math.log2(ENOUGH_VARIANCE / variance)))


def lm_head(source: Weights, width: int, rows: List[int]) -> Dict[str, Tensor]:
    """The masked-language-model head without its tied weight: the source's, or a fresh one."""
    if "cls.predictions.bias" not in source:
        seed = torch.Generator().manual_seed(0)
        return {
            "bias": torch.zeros(len(rows)),
            "dense.weight": torch.empty(width, width).normal_(std=0.02, generator=seed),
            "dense.bias": torch.zeros(width),
            "layer_norm.weight": torch.ones(width),
            "layer_norm.bias": torch.zeros(width),
        }
    head = {"bias": source.take("cls.predictions.bias", len(rows))[rows]}
    for theirs, (ours, shape) in LM_HEAD_MODULES.items():
        head.update(source.take_module(f"cls.predictions.transform.{theirs}", ours, shape))
    return head
