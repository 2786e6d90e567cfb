"""A RoBERTa's configuration, from its weights and a few settings."""

import re
from argparse import Namespace
from typing import Any, Dict, Type

from fairseq.models import ARCH_CONFIG_REGISTRY, MODEL_DATACLASS_REGISTRY, roberta
from fairseq.utils import get_available_activation_fns
from torch import Tensor, nn

from ..checkpoints.settings import (
    FAIRSEQ_EPS,
    Section,
    SettingsError,
    boolean,
    integer,
    one_of,
    real,
)
from ..modules.token_types import TABLE
from .mixkd_roberta import PADDING_FREE, TOKEN_TYPES, MixKDRobertaModel

_LAYER = re.compile(r"(?:encoder|decoder)\.sentence_encoder\.layers\.(\d+)\.")

_NOISE = ".sentence_encoder.quant_noise.weight"
_FLAGS = (
    *("encoder_normalize_before", "layernorm_embedding", "no_scale_embedding"),
    *("encoder_learned_pos", "no_token_positional_embeddings", "untie_weights_roberta"),
)


def roberta_settings(
    kind: Type[nn.Module], settings: Section, weights: Dict[str, Tensor], padding: int
) -> Namespace:
    """A RoBERTa's configuration: sizes are those of the weights, with which settings must agree.

    Raises:
        SettingsError: with the setting's name.
    """
    values: Dict[str, Any] = _sizes(settings, weights, padding)
    if any(name.endswith(_NOISE) for name in weights):  # of --quant-noise-pq: a layer
        values.update(quant_noise_pq=0.1, quant_noise_pq_block_size=1)  # evaluation has no noise
    values["encoder_attention_heads"] = integer(settings, "encoder_attention_heads", least=1)
    for name in _FLAGS:
        values[name] = boolean(settings, name)
    for name in ("activation_fn", "pooler_activation_fn"):
        values[name] = one_of(settings, name, get_available_activation_fns())
    if issubclass(kind, MixKDRobertaModel):
        values["layer_norm_eps"] = real(settings, "layer_norm_eps", FAIRSEQ_EPS)
        values["padding_free"] = one_of(settings, "padding_free", PADDING_FREE, "on")
        values["token_types"] = _token_types(settings, weights)
    config = Namespace(**{name: v for name, v in values.items() if v is not None})
    config.encoder_layers_to_keep = config.student_init_path = None
    name = settings["_name"]
    if name in MODEL_DATACLASS_REGISTRY or name not in ARCH_CONFIG_REGISTRY:
        roberta.model.base_architecture(config)
    else:
        ARCH_CONFIG_REGISTRY[name](config)
    heads, width = config.encoder_attention_heads, config.encoder_embed_dim
    if width % heads:
        raise SettingsError(
            f"its setting encoder_attention_heads is {heads}, which does not divide its width "
            f"{width}"
        )
    return config


def _sizes(settings: Section, weights: Dict[str, Tensor], padding: int) -> Dict[str, int]:
    layers = {int(match[1]) for match in map(_LAYER.match, weights) if match}
    if not layers or layers != set(range(len(layers))):
        raise SettingsError(
            "it is no RoBERTa encoder: its weights have no layers, or not all of them"
        )
    found = {"encoder_layers": len(layers)}
    for setting, name, axis in (
        ("encoder_embed_dim", "embed_tokens.weight", 1),
        ("encoder_ffn_embed_dim", "layers.0.fc1.weight", 0),
        ("max_positions", "embed_positions.weight", 0),
    ):
        ends = f".sentence_encoder.{name}"
        of_it = [value for key, value in weights.items() if key.endswith(ends)]
        if of_it and of_it[0].dim() == 2:
            found[setting] = of_it[0].size(axis)
    if "max_positions" in found:
        found["max_positions"] -= padding + 1
    else:  # positions without weights
        found["max_positions"] = integer(settings, "max_positions", 512, least=1)
    for setting, size in found.items():
        given = integer(settings, setting, size)
        if given != size:
            raise SettingsError(f"its setting {setting} must be {size}, got {given}")
    return found


def _token_types(settings: Section, weights: Dict[str, Tensor]) -> int:
    found = 2 if any(name.endswith(TABLE) for name in weights) else 1
    given = one_of(settings, "token_types", TOKEN_TYPES, found)
    if given != found:
        raise SettingsError(f"its setting token_types must be {found}, as it has, got {given}")
    return found
