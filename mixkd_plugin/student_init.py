"""Initialise a student from a deeper checkpoint of the same width."""

import logging
import re
from typing import Any, Dict, List

from fairseq.utils import safe_getattr
from torch import Tensor

from .preflight import fingerprint
from .safe_reading import read_checkpoint

logger = logging.getLogger(__name__)

# What weights were trained with, and fairseq's default for a checkpoint that does not say (None: of
# the architecture).
ENCODER = {
    "encoder_attention_heads": None,
    "activation_fn": "gelu",
    "encoder_normalize_before": False,
}
HEAD = {"pooler_activation_fn": "tanh"}

CHOICES = "first, spaced, or positions such as 0,2,4"

_LAYER = re.compile(r"(.*\.sentence_encoder\.layers\.)(\d+)(\..*)")


def select_layers(spec: str, deep: int, shallow: int) -> List[int]:
    """Which of ``deep`` layers become the ``shallow`` student's, in order.

    ``first``: 0, 1, 2, ...; ``spaced``: evenly spread from the first on, as in 0, 2, 4 of six;
    or the positions themselves.

    Raises:
        ValueError: for another ``spec``, a layer that does not exist, or a wrong number of them.
    """
    spec = str(spec).strip("[]")  # a number or a list, in YAML
    if spec in ("first", "spaced"):
        if shallow > deep:
            raise ValueError(
                f"--student-init-path has {deep} layers, the student has {shallow}; allowed are at "
                f"most {deep} (--arch, --encoder-layers)"
            )
        return [i if spec == "first" else i * deep // shallow for i in range(shallow)]
    try:
        layers = [int(i) for i in spec.split(",")]
    except ValueError:
        raise ValueError(f"--student-init-layers {spec!r}: allowed are {CHOICES}") from None
    for layer in layers:
        if not 0 <= layer < deep:
            raise ValueError(
                f"--student-init-layers {spec}: layer {layer} does not exist, "
                f"--student-init-path has layers 0 to {deep - 1}"
            )
    if len(layers) != shallow:
        raise ValueError(
            f"--student-init-layers {spec}: {len(layers)} layers for a student of {shallow}"
        )
    return layers


def initialise_student(model, path: str, spec: str) -> None:
    """Load embeddings, chosen layers and, where shapes agree, heads of ``path`` into ``model``.

    Args:
        model: a fairseq RoBERTa with its classification head registered
        path: a fairseq checkpoint; only read, and never able to run code
        spec: see :func:`select_layers`

    Raises:
        ValueError: where the file cannot be read, or layers, width, heads, activation or
            vocabulary differ.
    """
    try:
        checkpoint = read_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"--student-init-path: {error}") from error
    source = checkpoint["model"]
    source = {k.replace("decoder.", "encoder.", 1): v for k, v in source.items()}  # RoBERTa of 2019
    deep = 1 + max((int(m[2]) for m in map(_LAYER.match, source) if m), default=-1)
    layers = select_layers(spec, deep, len(model.encoder.sentence_encoder.layers))
    state = _keep_layers(source, layers)
    model.upgrade_state_dict(state)  # old names; heads that the student lacks or that differ go
    _check_settings(checkpoint, model, path, ENCODER)
    _check_words(checkpoint, model, path)

    expected = model.state_dict()
    for name, value in expected.items():
        if name not in state:
            raise ValueError(f"--student-init-path {path}: it has no {name}")
        if state[name].shape != value.shape:
            raise ValueError(
                f"--student-init-path {path}: {name} is {tuple(state[name].shape)}, the student's "
                f"is {tuple(value.shape)}: width, vocabulary and --max-positions must be equal"
            )
        if name.startswith("classification_heads.") and state[name] is source.get(name):
            _check_settings(checkpoint, model, path, HEAD)
    model.load_state_dict({name: state[name] for name in expected})
    logger.info("student initialised from layers %s of %s", layers, path)


def _check_settings(checkpoint: Dict[str, Any], model, path: str, names: Dict[str, Any]) -> None:
    """Weights that come along must go on computing what they did."""
    theirs = checkpoint["cfg"]["model"] if checkpoint.get("cfg") else checkpoint["args"]
    for name, default in names.items():
        ours = getattr(model.args, name)
        value = safe_getattr(theirs, name, ours if default is None else default)
        if ours != value:
            raise ValueError(
                f"--{name.replace('_', '-')} {ours}: --student-init-path {path} has {value}; "
                "allowed is the same"
            )


def _check_words(checkpoint: Dict[str, Any], model, path: str) -> None:
    """By the record that our task leaves; of other checkpoints the number alone is known."""
    recorded = checkpoint.get("task_state", {}).get("fingerprint", {}).get("vocabulary")
    if recorded not in (None, fingerprint(model.encoder.dictionary, None)["vocabulary"]):
        raise ValueError(
            f"--student-init-path {path}: its vocabulary is another than the data's; allowed is "
            "the same, symbol by symbol"
        )


def _keep_layers(source: Dict[str, Tensor], layers: List[int]) -> Dict[str, Tensor]:
    kept = {}
    for name, value in source.items():
        match = _LAYER.match(name)
        if match is None:
            kept[name] = value
            continue
        for student_layer, layer in enumerate(layers):
            if int(match[2]) == layer:
                kept[f"{match[1]}{student_layer}{match[3]}"] = value
    return kept
