"""Converts a Hugging Face encoder to fairseq's RoBERTa: order, names and shapes of weights.

- Symbols are sorted in fairseq's order: <s> <pad> </s> <unk>, the words in their order, and <mask>
  last, where fairseq's tasks add it. The embedding table has the same order.
- Positions start at padding index + 1 in fairseq, as in RoBERTa; BERT's table gets two more rows.
- Two token types are kept (modules/token_types.py). Where all tokens have the first, its row is
  added to every position. Mixup replaces word embeddings by lam * E(x) + (1 - lam) * E(x') and pads
  the shorter text with zero vectors, so a constant kept among the words would be scaled by lam
  there; a position is added once, after mixing, with weight 1.
- BERT's LayerNorm adds 1e-12 to the variance, fairseq's 1e-5. The checkpoint has the value as our
  --layer-norm-eps. fairseq's own `roberta` ignores it: within the layers the variance is about 1,
  and the difference is 2e-5 of the hidden states; but MiniLM's embeddings have a variance of 0.004,
  which gives 5e-4. LayerNorm is invariant to a common factor, so words and positions are multiplied
  by a power of two (8 for MiniLM), which is exact. The masked-language-model head, which shares the
  word embeddings, is divided by it.
- A tied masked-language-model head is converted. Without one, it is RoBERTa's initialisation with a
  fixed seed: fine-tuning never reads it, and it cannot predict masked words.
- BERT's and DistilBERT's pooler and classifier become RoBERTa's classification head, if config.json
  names the architecture of a classifier (head.py).
"""

import math
import re
from typing import Mapping

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ...checkpoints.checks import is_finite
from ...tokenizers.dictionary import dictionary_of, names_of_rows
from ...tokenizers.library import FAIRSEQ_SPECIAL, MASK
from ..hf_config import EncoderConfig
from .head import ENCODER_ONLY

PADDING_INDEX = 1
WORDS, TYPES = (f"embeddings.{name}_embeddings.weight" for name in ("word", "token_type"))

NEGLIGIBLE_EPS = 1e-10  # compared with the variance of any embedding
ENOUGH_VARIANCE = 0.1  # of a word's embedding, for FAIRSEQ_EPS to change it by less than 1e-4

# Weights that fairseq's encoder lacks: buffers, tied embeddings, and heads.
IGNORED_PREFIXES = (
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "pooler.",
    "cls.seq_relationship.",
    "cls.predictions.decoder.",
    "lm_head.decoder.",
    "vocab_projector.weight",
    "fit_dense",  # of TinyBERT's distillation
)


def fairseq_order(symbols: Mapping[int, str], num_rows: int) -> tuple[Dictionary, list[int]]:
    """The words as fairseq's Dictionary, without <mask>; and the source's index of each."""
    names = names_of_rows(symbols, num_rows)
    rows = {symbol: row for row, symbol in enumerate(names)}
    missing = [symbol for symbol in FAIRSEQ_SPECIAL if symbol not in rows]
    if missing:
        raise ValueError(f"the vocabulary lacks {' '.join(missing)}")
    dictionary = dictionary_of(names)
    return dictionary, [rows[symbol] for symbol in (*dictionary.symbols, MASK)]


class Weights:
    """The source's weights; each is taken once, and its shape is checked."""

    def __init__(self, tensors: dict[str, Tensor], config: EncoderConfig, encoder_only: bool):
        self.family, self._config = config.family, config
        # BERT's first files have TensorFlow's names for LayerNorm's weights
        newer = {".gamma": ".weight", ".beta": ".bias"}
        tensors = {
            re.sub(r"\.(gamma|beta)$", lambda m: newer[m[0]], k): v for k, v in tensors.items()
        }
        prefix = self.family.prefix  # of the encoder's names in a model with a head
        headed = any(name.startswith(prefix) for name in tensors)
        known = (*self.family.masked_lm, self.family.masked_lm_bias)
        # fairseq's head for masked words is tied
        tied = config.theirs.tie_word_embeddings
        self._left = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
            or (tied if name.startswith(known) else not (encoder_only and headed))
        }

    def __contains__(self, name: str) -> bool:
        return name in self._left

    @property
    def outputs(self) -> int | None:
        """Outputs of a classifier's head; None without one."""
        name = f"{self.family.head[1]}.weight"
        if name not in self._left:
            return None
        shape = tuple(self._left[name].shape)
        if len(shape) != 2 or not shape[0]:
            raise ValueError(f"{name} must have an output for each class, got the shape {shape}")
        return shape[0]

    def take(self, name: str, *shape: int) -> Tensor:
        if name not in self._left:
            raise ValueError(f"the weights lack {name}")
        tensor = self._left.pop(name)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {tuple(tensor.shape)}")
        dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not dense or not tensor.is_floating_point() or tensor.is_quantized:
            raise ValueError(f"{name} must be a dense tensor of floats, got {_kind(tensor)}")
        if tensor.untyped_storage().nbytes() < tensor.nbytes:
            raise ValueError(f"{name} must have a value for each weight, got a repeated one")
        tensor = tensor.float()
        if not is_finite(tensor):
            raise ValueError(f"{name} must be finite, got NaN or infinity")
        return tensor

    def take_module(self, source: str, target: str) -> dict[str, Tensor]:
        width, inner = self._config.hidden_size, self._config.intermediate_size
        shape = (width,) if "norm" in target else (width, width)
        shape = {"fc1": (inner, width), "fc2": (width, inner)}.get(target.split(".")[-1], shape)
        return {
            f"{target}.weight": self.take(f"{source}.weight", *shape),
            f"{target}.bias": self.take(f"{source}.bias", shape[0]),
        }

    def check_nothing_left(self) -> None:
        extra = sorted(name for name in self._left if not name.startswith(IGNORED_PREFIXES))
        if extra:
            raise ValueError(
                f"weights must be a RoBERTa's, got {', '.join(extra[:5])}: {ENCODER_ONLY}"
            )


def _kind(tensor: Tensor) -> str:
    return f"{tensor.layout}, {tensor.dtype}, {tensor.device}".replace("torch.", "")


def convert(
    config: EncoderConfig,
    source: Weights,
    words: Tensor,
    rows: list[int],
    types: int,
    head: str,
    outputs: int | None,
) -> dict[str, Tensor]:
    """The state dict of fairseq's RobertaModel.

    Args:
        words: the embeddings, already taken
        rows: as from :func:`fairseq_order`
        types: token types to keep, 1 or 2
        head, outputs: name and size of the classification head; ``outputs`` None: no head

    Raises:
        ValueError: for a weight that is missing, misshapen or unknown.
    """
    width, family = config.hidden_size, config.family
    positions = source.take(
        "embeddings.position_embeddings.weight", config.max_position_embeddings, width
    )[config.unused_positions :]
    declared = token_types(config)
    if declared:
        table = source.take(TYPES, declared, width)
        positions = positions + table[0] if types == 1 else positions
    scale = embedding_scale(config, words)
    leading = torch.zeros(PADDING_INDEX + 1, width)
    state = {
        "version": torch.tensor([3.0]),  # of fairseq's TransformerEncoder
        "embed_tokens.weight": scale * words[rows],
        "embed_positions.weight": torch.cat([leading, scale * positions]),
        **source.take_module("embeddings.LayerNorm", "layernorm_embedding"),
    }
    if types == 2:
        state["embed_tokens.types.weight"] = scale * table
    for i in range(config.num_hidden_layers):
        for theirs, ours in family.modules.items():
            state |= source.take_module(f"{family.layers}{i}.{theirs}", f"layers.{i}.{ours}")
    state = {f"encoder.sentence_encoder.{name}": tensor for name, tensor in state.items()}
    for name, tensor in masked_lm_head(source, config, rows).items():
        state[f"encoder.lm_head.{name}"] = tensor / scale if "layer_norm" in name else tensor
    state["encoder.lm_head.weight"] = state["encoder.sentence_encoder.embed_tokens.weight"]  # tied
    if outputs is not None:
        dense, out = family.head
        prefix = f"classification_heads.{head}"
        state.update(source.take_module(dense, f"{prefix}.dense"))
        state[f"{prefix}.out_proj.weight"] = source.take(f"{out}.weight", outputs, width)
        state[f"{prefix}.out_proj.bias"] = source.take(f"{out}.bias", outputs)
    source.check_nothing_left()
    return state


def token_types(config: EncoderConfig) -> int:
    """Number of token types; 0 for DistilBERT.

    Raises:
        ValueError: for more than two.
    """
    number = getattr(config.theirs, "type_vocab_size", 0)
    if number not in (0, 1, 2):
        raise ValueError(f"type_vocab_size must be 1 or 2, got {number!r}")
    return number


def embedding_scale(config: EncoderConfig, words: Tensor) -> float:
    """Power of two that scales embeddings, so that fairseq's LayerNorm equals the source's."""
    if config.layer_norm_eps > NEGLIGIBLE_EPS:
        return 1.0
    variance = words.var(dim=1, unbiased=False).median().item()
    if not 0 < variance < math.inf:
        raise ValueError("the word embeddings must differ, got constant ones")
    return max(1.0, 2.0 ** math.ceil(0.5 * math.log2(ENOUGH_VARIANCE / variance)))


def masked_lm_head(source: Weights, config: EncoderConfig, rows: list[int]) -> dict[str, Tensor]:
    """The masked-language-model head without its tied weight: the source's, or a fresh one."""
    family, width = config.family, config.hidden_size
    if family.masked_lm_bias not in source:
        seed = torch.Generator().manual_seed(0)
        return {
            "bias": torch.zeros(len(rows)),
            "dense.weight": torch.empty(width, width).normal_(std=0.02, generator=seed),
            "dense.bias": torch.zeros(width),
            "layer_norm.weight": torch.ones(width),
            "layer_norm.bias": torch.zeros(width),
        }
    head = {"bias": source.take(family.masked_lm_bias, len(rows))[rows]}
    for theirs, ours in family.masked_lm.items():
        head |= source.take_module(theirs, ours)
    return head
