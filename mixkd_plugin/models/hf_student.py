"""A student from a Hugging Face folder: its configuration, and its initial weights."""

import logging
from typing import Any, Dict, Optional

from fairseq.data import Dictionary

from ..checkpoints.checks import is_finite
from ..checkpoints.outputs import StudentHead
from ..checkpoints.settings import shown_names
from ..errors import prefixed
from ..names import as_flag
from .hf_folder import read_folder
from .hf_network import config_of, plain_config, read_config
from .hf_parts import layer_lists
from .mixkd_hf import MixKDHFModel
from .select_layers import keep_layers, select_layers

logger = logging.getLogger(__name__)


def student_config(args) -> Dict[str, Any]:
    """The configuration of a student of ``--hf-model`` by its other flags, which errors name."""
    folder, dropout = args.hf_model, args.dropout
    if not folder:
        raise ValueError("--hf-model is missing: --arch mixkd_hf needs a Hugging Face folder")
    if dropout is not None and not 0 <= dropout < 1:
        raise ValueError(f"--dropout must be in [0, 1), got {dropout}")
    with prefixed(f"--hf-model {folder}"):
        values = plain_config(read_config(folder))
    if dropout is not None:
        given = [n for n, v in values.items() if "dropout" in n and isinstance(v, (int, float))]
        values.update(dict.fromkeys(given, float(dropout)))
    deep = config_of(values)
    layers = _layers(args, deep)
    if layers is None:
        return values
    if values.get("layer_types") is not None:  # of attention, where layers differ in it
        values["layer_types"] = [values["layer_types"][i] for i in layers]
    attribute = deep.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    return plain_config(config_of({**values, attribute: len(layers)}))


def _layers(args, config: Any) -> Optional[list]:
    """Positions of the layers to take; None: all."""
    if args.encoder_layers is None and args.student_init_layers == "first":
        return None
    deep = getattr(config, "num_hidden_layers", None)
    if deep is None:
        name = "student_init_layers" if args.encoder_layers is None else "encoder_layers"
        raise ValueError(
            f"{as_flag(name)} must be left out for model_type {config.model_type}, got "
            f"{getattr(args, name)}"
        )
    shallow = deep if args.encoder_layers is None else args.encoder_layers
    if shallow < 1:
        raise ValueError(f"--encoder-layers must be >= 1, got {shallow}")
    return select_layers(args.student_init_layers, deep, shallow, "--hf-model")


def initialise_hf_student(
    model: MixKDHFModel, dictionary: Dictionary, head: StudentHead, num_classes: int
) -> None:
    """Load embeddings, chosen layers and, where classes agree, the head of ``--hf-model``.

    Raises:
        ValueError: if the folder cannot be used, or its vocabulary is not the data's.
    """
    args = model.args
    with prefixed(f"--hf-model {args.hf_model}", unless="--"):
        found = read_folder(args.hf_model, dictionary, head.name, encoder_only=True)
        deep, state = found.model.network, dict(found.model.state_dict())
        layers = _layers(args, deep.config)
        if layers is not None:
            for name in layer_lists(deep, deep.config.num_hidden_layers)[:1]:
                state = keep_layers(state, f"network.{name}.", layers)
        expected, prefix = model.state_dict(), f"classification_heads.{head.name}."
        of_head = {name for name in expected if name.startswith(prefix)}
        fits = found.has_head and all(state[n].shape == expected[n].shape for n in of_head)
        fits = fits and head.take(state, found.names)
        if not fits:
            state.update({name: expected[name] for name in of_head})
        differ = [n for n in {*state, *expected} if n not in state or n not in expected]
        differ += [n for n in expected if n in state and state[n].shape != expected[n].shape]
        if differ:
            raise ValueError(
                f"--student-init-layers {args.student_init_layers}: layers {layers} of "
                f"{args.hf_model} do not fit the student's places, in {shown_names(differ)}: "
                "choose others"
            )
        wrong = [name for name, value in state.items() if not is_finite(value)]
        if wrong:
            raise ValueError(f"its {shown_names(wrong)} must be made of finite numbers")
        model.load_state_dict(state)
        logger.info(
            "student initialised from layers %s of %s, with %s head of %d outputs",
            *("0, 1, ..." if layers is None else layers, args.hf_model),
            *("its" if fits else "a new", num_classes),
        )
