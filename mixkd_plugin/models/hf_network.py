"""A sequence classifier of transformers, and its configuration as plain values for a checkpoint.

transformers is imported where it is used, since training needs it for such models alone.
"""

import inspect
import os
import re
from typing import Any, Dict, Type

from torch import nn

from ..checkpoints.outputs import declared_names
from ..checkpoints.settings import SettingsError, harmless, shown
from ..errors import in_short, prefixed
from ..interop import library, quiet
from ..tokenizers.library import read_json_if_there

MOST_LAYERS = 1000
# Of a config.json, but not of the network: classes, tokens' indices, where and how it was saved.
NOT_NETWORK = {
    *("id2label", "label2id", "num_labels", "problem_type", "architectures", "vocab_size"),
    *("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "decoder_start_token_id"),
    *("transformers_version", "dtype", "torch_dtype", "tokenizer_class", "auto_map", "use_cache"),
    *("attn_implementation", "experts_implementation", "quantization_config", "kernel_config"),
    *("output_hidden_states", "output_attentions", "return_dict", "torchscript", "use_kernels"),
    *("chunk_size_feed_forward", "gradient_checkpointing", "task_specific_params"),
    *("distributed_config", "fusion_config", "finetuning_task", "prefix"),
}
_NAME = re.compile(r"[a-z]\w*", re.ASCII | re.IGNORECASE)


def read_config(folder: str) -> Any:
    """transformers' configuration of a folder's model.

    Raises:
        ValueError: with the file and the setting, for a model that is no encoder, or needs code of
            its own.
    """
    path = os.path.join(folder, "config.json")
    if not os.path.isfile(path):
        raise ValueError(f"no config.json in {folder}")
    with prefixed(path):
        raw = read_json_if_there(path)
        for name in ("auto_map", "quantization_config"):
            if raw.get(name):
                reason = "a model's own code is not run"
                if name == "quantization_config":
                    reason = "save the model without quantisation"
                raise ValueError(f"{name} must be absent, got {shown(raw[name])}: {reason}")
        names = declared_names(raw)
        return config_of({**raw, "id2label": dict(enumerate(names)), "num_labels": len(names)})


def config_of(values: Dict[str, Any]) -> Any:
    """transformers' configuration from a config.json; ValueError unless it is of an encoder."""
    kind = values.get("model_type")
    classifier_of(kind)
    unusable = {"auto_map", "quantization_config", "attn_implementation", "kernel_config"}
    given = {k: v for k, v in values.items() if k not in unusable and not k.startswith("_")}
    try:
        with quiet():
            config = library("transformers").CONFIG_MAPPING[kind].from_dict(given)
            config.output_hidden_states = config.output_attentions = False
            config.chunk_size_feed_forward = 0
    except Exception as error:  # transformers checks values with errors of any kind
        raise ValueError(f"transformers cannot read it: {in_short(error)}") from error
    layers = getattr(config, "num_hidden_layers", 1)
    if type(layers) is not int or not 0 < layers <= MOST_LAYERS:
        raise ValueError(f"num_hidden_layers must be 1 to {MOST_LAYERS}, got {shown(layers)}")
    for name in ("is_decoder", "is_encoder_decoder", "add_cross_attention"):
        if getattr(config, name, False):
            raise ValueError(f"{name} must be false, got true: the model must be an encoder")
    return config


def classifier_of(kind: Any) -> Type[nn.Module]:
    """transformers' sequence classifier of a ``model_type``.

    Raises:
        ValueError: if there is none, for a decoder, and for one that reads no embeddings.
    """
    auto = library("transformers.models.auto.modeling_auto")
    name = isinstance(kind, str) and auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(kind)
    if not name:
        raise ValueError(
            f"model_type must be of a sequence classifier of transformers, got {shown(kind)}"
        )
    name = name[0] if isinstance(name, (list, tuple)) else name
    causal, masked = (
        getattr(auto, f"MODEL_FOR_{task}_LM_MAPPING_NAMES") for task in ("CAUSAL", "MASKED")
    )
    if kind in causal and kind not in masked:
        raise ValueError(
            f"model_type must be of an encoder, got {kind}, a decoder: choose a model such as "
            "BERT, RoBERTa, DeBERTa or ModernBERT"
        )
    found = getattr(library("transformers"), name)
    if "inputs_embeds" not in inspect.signature(found.forward).parameters:
        raise ValueError(
            f"model_type must be of a model that takes inputs_embeds, where texts are mixed, got "
            f"{kind}: choose a model such as BERT, RoBERTa, DeBERTa or ModernBERT"
        )
    return found


def plain_config(config: Any) -> Dict[str, Any]:
    """The values of a configuration on which the network depends, for a checkpoint."""
    kept = {}
    for name, value in config.to_dict().items():
        if name not in NOT_NETWORK and _NAME.fullmatch(name):
            try:
                kept[name] = harmless(name, value)
            except SettingsError:  # a text that names nothing of a network
                continue
    return {**kept, "model_type": config.model_type}


def checked_config(settings: Dict[str, Any]) -> Dict[str, Any]:
    """A checkpoint's configuration; SettingsError unless :func:`plain_config` made one like it."""
    values = settings.get("hf_config")
    if not isinstance(values, dict) or not all(map(_NAME.fullmatch, values)):
        raise SettingsError(f"its setting hf_config must be a configuration, got {shown(values)}")
    wrong = sorted(NOT_NETWORK & set(values))
    if wrong:
        raise SettingsError(f"its setting hf_config must not have {wrong[0]}")
    return harmless("hf_config", values)


def build_network(config: Any) -> nn.Module:
    """transformers' classifier of a configuration, with random weights; ValueError if it fails."""
    kind = classifier_of(config.model_type)
    # the table of words is outside; the row of padding must be inside
    config.vocab_size = 1 + max(0, getattr(config, "pad_token_id", None) or 0)
    try:
        with quiet():
            config._attn_implementation = attention_of(kind)
            return kind(config)
    except SettingsError:
        raise
    except Exception as error:
        raise ValueError(f"transformers cannot build it: {in_short(error)}") from error


def attention_of(kind: Type[nn.Module]) -> str:
    """The implementation of attention, equal on every machine."""
    return "sdpa" if getattr(kind, "_supports_sdpa", False) else "eager"
