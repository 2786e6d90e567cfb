"""A checkpoint's model, built from the run's data and our own configuration.

fairseq's loader builds any model and task that a file's settings name. Here the model must be
fairseq's RoBERTa, ours, an encoder of transformers (`mixkd_hf`), or one of the user's package that
extends these or MixupModel. Its sizes are those of the weights, or must fit them; only a few
settings are read, each with a check. Task and dictionaries are never the file's.
"""

import argparse
import contextlib
import random
from argparse import Namespace
from typing import Any, Dict, Iterator, Type

import torch
from fairseq.data.data_utils import numpy_seed
from fairseq.dataclass import FairseqDataclass
from fairseq.models import (
    ARCH_CONFIG_REGISTRY,
    ARCH_MODEL_REGISTRY,
    MODEL_DATACLASS_REGISTRY,
    roberta,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from ..checkpoints.settings import Section, SettingsError, harmless, shown
from ..errors import in_short
from .hf_network import checked_config
from .mixkd_hf import MixKDHFModel
from .mixkd_roberta import MixKDRobertaModel
from .mixup_model import MixupModel
from .roberta_settings import roberta_settings
from .size_guard import no_larger_than

_OF_OTHERS = ("fairseq.", "fairseq_cli.", "mixkd_plugin.")


def model_class(settings: Section) -> Type[nn.Module]:
    """The class that the settings name; SettingsError if it may not be a teacher or a start."""
    name = settings.get("_name")
    found = ARCH_MODEL_REGISTRY.get(name)
    if found is None:
        known = "have no --arch" if name is None else f"have --arch {shown(name)}"
        raise SettingsError(
            f"its settings {known}, which is registered neither by fairseq nor by --user-dir"
        )
    own = not found.__module__.startswith(_OF_OTHERS)
    # XLM-R is the first
    ours = found in (roberta.RobertaModel, MixKDRobertaModel, MixKDHFModel)
    if ours or (own and issubclass(found, (roberta.RobertaModel, MixupModel))):
        return found
    raise SettingsError(
        "it must be fairseq's RobertaModel, or extend it or mixkd_plugin.MixupModel in the package "
        f"of --user-dir, got a {found.__name__} (--arch {shown(name)})"
    )


def build(
    settings: Section, weights: Dict[str, Tensor], head: str, num_classes: int, task: Any
) -> nn.Module:
    """The model with its weights, in evaluation mode; random states are not changed.

    Args:
        settings: of the model, as :mod:`mixkd_plugin.checkpoints.settings` has them
        weights: the file's, by their names in the file
        head, num_classes: of the classification head to use
        task: the run's

    Raises:
        ValueError: if settings and weights do not fit each other.
    """
    kind = model_class(settings)
    prefix = f"classification_heads.{head}."
    weights = {
        name: value
        for name, value in weights.items()
        if not name.startswith("classification_heads.") or name.startswith(prefix)
    }
    extended = {}
    if issubclass(kind, roberta.RobertaModel):
        dense = weights.get(f"{prefix}dense.weight")
        if dense is not None:
            extended["inner_dim"] = dense.size(0)
    given = set(weights)
    try:
        with random_states_kept(), no_larger_than(weights):
            model = kind.build_model(_configuration(kind, settings, weights, task), task)
            model.register_classification_head(head, num_classes, **extended)
            model.load_state_dict(weights, strict=True)  # which converts old names
    except SettingsError:
        raise
    except Exception as error:  # of fairseq, torch or the user's package
        raise ValueError(
            f"it cannot be built ({type(error).__name__}: {in_short(error)})"
        ) from error
    for name, value in model.state_dict().items():
        if name.startswith(prefix) and name not in given:
            raise ValueError(f"its classification head {head!r} has no {name[len(prefix) :]}")
        if name in weights and weights[name].is_floating_point() != value.is_floating_point():
            raise ValueError(f"its {name} has the type {weights[name].dtype}")
    return model.eval()


def _configuration(kind: Type[nn.Module], settings: Section, weights: Dict[str, Tensor], task: Any):
    """The arguments of the class's ``build_model``."""
    if issubclass(kind, MixKDHFModel):
        return Namespace(hf_config=checked_config(settings))
    name = settings["_name"]
    fixed = {}
    if issubclass(kind, roberta.RobertaModel):
        padding = task.source_dictionary.pad()
        fixed = vars(roberta_settings(kind, settings, weights, padding))
    dataclass = MODEL_DATACLASS_REGISTRY.get(name)
    if dataclass is not None:
        config = _of_dataclass(dataclass, settings)
        OmegaConf.set_struct(config, False)
        for key, value in fixed.items():
            config[key] = value
        return config
    # its own flags last: `fixed` has the architecture's defaults of them
    config = Namespace(**{**fixed, **_of_parser(kind, settings)})
    ARCH_CONFIG_REGISTRY[name](config)  # sets the architecture's defaults
    return config


def _of_dataclass(dataclass: Type[FairseqDataclass], settings: Section):
    """The fields of a registered dataclass, of the types that it declares."""
    known = OmegaConf.structured(dataclass())
    given = {
        name: harmless(name, value)
        for name, value in settings.items()
        if name in dataclass.__dataclass_fields__ and value != "???"
    }
    try:
        return OmegaConf.merge(known, given)
    except (OmegaConfBaseException, ValueError) as error:
        raise SettingsError(
            f"its settings do not fit {dataclass.__name__}: {in_short(error)}"
        ) from error


def _of_parser(kind: Type[nn.Module], settings: Section) -> Section:
    """The flags that a model adds to fairseq's, or to a RoBERTa's."""
    flags, values = flags_of_model(kind), {}
    if issubclass(kind, roberta.RobertaModel):
        for name in flags_of_model(MixKDRobertaModel):
            flags.pop(name, None)
    for name, action in flags.items():
        if name not in settings:
            if action.default is not argparse.SUPPRESS:
                values[name] = action.default
            continue
        value = harmless(name, settings[name])
        text_is_meant = action.type in (None, str) and action.nargs != 0
        if action.choices is not None and value is not None and value not in action.choices:
            raise SettingsError(f"its setting {name} is {shown(value)}, not one of the flag's")
        if isinstance(value, str) and not (text_is_meant or action.choices):
            raise SettingsError(f"its setting {name} must be no text, got {shown(value)}")
        values[name] = value
    return values


def flags_of_model(kind: Type[nn.Module]) -> Dict[str, argparse.Action]:
    """Those of its ``add_args``, by the names of their settings."""
    parser = argparse.ArgumentParser(  # as in fairseq: the architecture sets flags not given
        add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    kind.add_args(parser)
    return {action.dest: action for action in parser._actions}


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """Building a model draws equal numbers each time, and does not change training's."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]), numpy_seed(1):
        random.seed(1)
        torch.manual_seed(1)
        try:
            yield
        finally:
            random.setstate(state)
