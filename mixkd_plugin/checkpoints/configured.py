"""A checkpoint for a teacher or to initialise a student: weights, settings, and a task for them."""

import re
from typing import Any, Dict

import torch
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from ..errors import in_short
from ..fingerprints import check_regular
from .checks import check_special_tokens
from .safe_load import read_checkpoint
from .settings import (
    Section,
    SettingsError,
    boolean,
    harmless,
    integer,
    one_of,
    sections_of,
    shown,
    text,
)

_TYPES = {
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),  # of buffers
}
# fairseq 0.12.2 saves a layer's weights twice; these do not compute
_UNUSED = re.compile(r"\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$")
_SHORTEN = ("none", "truncate", "random_crop")
# of fairseq's tasks: their checkpoints may hold a RoBERTa encoder
_PRETRAINING = ("masked_lm", "legacy_masked_lm", "multilingual_masked_lm", "sentence_ranking")


def read_configured(path: str) -> Dict[str, Any]:
    """A checkpoint whose ``cfg`` is what :func:`settings.sections_of` makes of its settings.

    Raises:
        ValueError: if it cannot be read, or its weights or settings are of a wrong type.
    """
    state = read_checkpoint(path)
    try:
        _check_weights(state["model"], check_regular(path).st_size)
        state["model"] = {n: w for n, w in state["model"].items() if not _UNUSED.search(n)}
        state["cfg"], state["args"] = sections_of(state), None
        text(state["cfg"]["task"], "data")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # settings that are a malicious OmegaConf object
        raise ValueError(f"{path}: its settings are damaged ({type(error).__name__})") from error
    recorded = state.get("task_state", {}).get("fingerprint")
    state["fingerprint"] = recorded if isinstance(recorded, dict) else {}
    labels = state["fingerprint"].get("labels")
    of_names = isinstance(labels, list) and all(isinstance(name, str) for name in labels)
    if labels is not None and not of_names:
        raise ValueError(f"{path}: its recorded labels must be names, got {shown(labels)}")
    return state


def _check_weights(weights: Dict[str, Tensor], size_of_file: int) -> None:
    """Weights must be dense tensors on the CPU, stored completely in the file."""
    total = 0
    for name, value in weights.items():
        if not isinstance(name, str):
            raise ValueError("one of its weights has no name")
        if not isinstance(value, Tensor):
            raise ValueError(f"its weight {shown(name)} is a {type(value).__name__}, not a tensor")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise ValueError(f"its weight {shown(name)} is not a plain tensor")
        if value.dtype not in _TYPES:
            raise ValueError(f"its weight {shown(name)} has the type {value.dtype}")
        if any(n > 1 and step == 0 for n, step in zip(value.shape, value.stride())):
            raise ValueError(f"its weight {shown(name)} repeats one number, as no trained one does")
        total += value.numel() * value.element_size()
    if total > 4 * size_of_file:  # some share their storage: two, where embeddings are tied
        raise ValueError("its weights are larger than the file")


def sentence_task(
    section: Section, data: str, head: str, num_classes: int, regression: bool, positions: int = 512
) -> SentencePredictionTask:
    """The task of a checkpoint on a data folder; its texts are laid out as in training.

    Only fairseq's task, ours, or one that extends them in the user's package is set up.

    Raises:
        ValueError: where the settings name another task, or the folder lacks a dictionary.
    """
    name = section["_name"]
    kind = TASK_REGISTRY.get(name, object)
    own = not kind.__module__.startswith("fairseq.") and issubclass(kind, SentencePredictionTask)
    if kind is not SentencePredictionTask and not own:
        raise SettingsError(
            "its --task must be sentence_prediction, or what extends it here or in the package of "
            f"--user-dir, got {shown(name)}"
        )
    dataclass = TASK_DATACLASS_REGISTRY[name]
    ours = TASK_DATACLASS_REGISTRY["mixkd_sentence_prediction"].__dataclass_fields__
    values = {
        field: harmless(field, section[field])
        for field in dataclass.__dataclass_fields__
        if field not in ours and field in section and section[field] != "???"
    }
    values.update(
        _name=name,
        data=data,
        num_classes=num_classes,
        regression_target=regression,
        classification_head_name=head,
        init_token=integer(section, "init_token"),
        separator_token=integer(section, "separator_token"),
        max_positions=integer(section, "max_positions", positions, least=1),
        shorten_method=one_of(section, "shorten_method", _SHORTEN, "none"),
        shorten_data_split_list=text(section, "shorten_data_split_list", ""),
    )
    if boolean(section, "multi_label"):
        values["multi_label"] = True
    try:
        full = OmegaConf.structured(FairseqConfig())
        full.task = OmegaConf.merge(OmegaConf.structured(dataclass()), values)
        plain = OmegaConf.to_container(full.task, resolve=True, enum_to_str=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise SettingsError(f"its settings do not fit --task {name}: {in_short(error)}") from error
    task = kind.setup_task(OmegaConf.create(plain), from_checkpoint=True)
    check_special_tokens(task.cfg, task.source_dictionary)
    return task


def check_pretraining(section: Section) -> None:
    """Raise SettingsError for a task of fairseq's whose encoder is no RoBERTa."""
    name = section["_name"]
    kind = TASK_REGISTRY.get(name)
    known = kind is not None and kind.__module__.startswith("fairseq.")
    if known and name not in (*_PRETRAINING, "sentence_prediction"):
        raise SettingsError(
            f"its --task must be {', '.join(_PRETRAINING)} or sentence_prediction, got "
            f"{shown(name)}"
        )
