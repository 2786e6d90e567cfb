"""A student of `--arch mixkd_hf` as the class of transformers that it is."""

from typing import Any

from torch import Tensor, nn

from ...errors import in_short
from ...models.hf_network import classifier_of, config_of, plain_config
from ...models.hf_parts import embeddings_of, names_of_parts
from ...models.mixkd_hf import MixKDHFModel
from ..labels import NUM_TEXTS
from ..scoring import Loaded
from .tokenizer import Exported


def to_own_class(loaded: Loaded, exported: Exported, labels: list[str] | None) -> nn.Module:
    """The student in the order and with the padding symbol of the exported tokenizer.

    Args:
        labels: names of the classes; None: a regression

    Raises:
        ValueError: if the class cannot have the tokenizer's padding symbol.
    """
    model: MixKDHFModel = loaded.model
    task, network = loaded.task.cfg, model.network
    config = config_of(plain_config(network.config))
    state = {name: value.detach() for name, value in network.state_dict().items()}
    _move_positions(network, config, state, exported.padding)
    config.update(symbols_and_classes(loaded, exported, labels))
    served = classifier_of(config.model_type)(config).eval()
    parts, head = names_of_parts(served), model.classification_heads[task.classification_head_name]
    state[f"{parts.words}.weight"] = model.embed_tokens.weight[exported.rows]
    if parts.types is not None:
        state[f"{parts.types}.weight"] = model.embed_tokens.types.weight
    state.update({f"{parts.last}.{name}": v for name, v in head.out_proj.state_dict().items()})
    try:
        served.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"a {type(served).__name__} cannot have this tokenizer or head: {in_short(error)}"
        ) from error
    return served.float()


def symbols_and_classes(
    loaded: Loaded, exported: Exported, labels: list[str] | None
) -> dict[str, Any]:
    """The settings of a config.json that come from the tokenizer and the data.

    Args:
        labels: names of the classes; None: a regression
    """
    names = labels or [f"LABEL_{i}" for i in range(loaded.task.cfg.num_classes)]
    return {
        "vocab_size": len(exported.rows),
        "pad_token_id": exported.padding,
        "bos_token_id": exported.tokenizer.token_to_id(exported.names["<s>"]),
        "eos_token_id": exported.tokenizer.token_to_id(exported.names["</s>"]),
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": loaded.problem_type,
        NUM_TEXTS: loaded.num_texts,  # `predict` refuses another number
    }


def _move_positions(
    network: nn.Module, config: Any, state: dict[str, Tensor], padding: int
) -> None:
    """RoBERTa's positions begin after the index of padding, which may be another one here."""
    name, table = embeddings_of(network, "position_embeddings")
    if table is None or table.padding_idx in (None, padding):
        return
    usable = table.weight.detach()[table.padding_idx + 1 :]
    state[f"{name}.weight"] = nn.functional.pad(usable, (0, 0, padding + 1, 0))
    config.max_position_embeddings = padding + 1 + len(usable)
