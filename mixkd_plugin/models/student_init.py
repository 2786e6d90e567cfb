"""Initialise a student from a deeper checkpoint, of the same width or wider."""

import logging
from argparse import Namespace
from typing import Any, Dict, Optional, Sequence

from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from fairseq.utils import safe_getattr
from torch import Tensor, zeros_like

from ..checkpoints.checks import is_finite, other_dictionary
from ..checkpoints.configured import check_pretraining, read_configured
from ..checkpoints.outputs import StudentHead, heads_of, names_of
from ..checkpoints.settings import FAIRSEQ_EPS, shown
from ..errors import in_short, prefixed
from ..modules.token_types import TABLE
from ..names import as_flag
from .mixkd_roberta import MixKDRobertaModel
from .narrow import SIZES, check_narrow, narrow
from .rebuild import model_class, random_states_kept
from .roberta_settings import roberta_settings
from .select_layers import keep_layers, select_layers
from .size_guard import no_larger_than

logger = logging.getLogger(__name__)

# Settings that change the computation, besides the head's activation.
ENCODER = (
    *("encoder_attention_heads", "activation_fn", "encoder_normalize_before"),
    *("layernorm_embedding", "no_scale_embedding", "encoder_learned_pos"),
    *("no_token_positional_embeddings", "layer_norm_eps"),
)
HEAD = ("pooler_activation_fn",)
HEADS = "classification_heads."

# Weights with a row for each symbol
WORDS = tuple(
    f"encoder.{name}"
    for name in ("sentence_encoder.embed_tokens.weight", "lm_head.weight", "lm_head.bias")
)


def initialise_student(model, path: str, spec: str, head: Optional[StudentHead] = None) -> bool:
    """Load embeddings, chosen layers and, where shapes agree, heads of ``path`` into ``model``.

    Return whether the checkpoint is wider, so that the weights were computed (:mod:`.narrow`).

    Args:
        model: a fairseq RoBERTa with its classification head registered
        path: a fairseq checkpoint; loading it cannot run code
        spec: see :func:`select_layers`
        head: the one to train, with its classes; None: they are not compared

    Raises:
        ValueError: if the file cannot be read, or layers, width, heads, activation or
            vocabulary differ.
    """
    if path.startswith("hf:"):
        raise ValueError(
            f"--student-init-path must be a checkpoint of fairseq, got {path}: make one by "
            f"`mixkd import {path[3:]}` (hf:FOLDER is for --teacher-path)"
        )
    with prefixed("--student-init-path"):
        checkpoint = read_configured(path)
    with prefixed(f"--student-init-path {path}", unless="--"):
        return _initialise(model, checkpoint, path, spec, head)


def _initialise(
    model, checkpoint: Dict[str, Any], path: str, spec: str, head: Optional[StudentHead]
) -> bool:
    source, dictionary = checkpoint["model"], model.encoder.dictionary
    settings = {"encoder_attention_heads": model.args.encoder_attention_heads}
    settings.update(checkpoint["cfg"]["model"])
    kind = model_class(settings)
    if not issubclass(kind, RobertaModel):
        raise ValueError(f"it must be a RoBERTa, as the student is, got a {kind.__name__}")
    check_pretraining(checkpoint["cfg"]["task"])
    theirs = roberta_settings(kind, settings, source, dictionary.pad())
    layers = select_layers(spec, theirs.encoder_layers, len(model.encoder.sentence_encoder.layers))
    source = {k.replace("decoder.", "encoder.", 1): v for k, v in source.items()}  # RoBERTa of 2019
    names = None if head is None else names_of(path, checkpoint, head.classes)[1]
    if head is not None and not head.take(source, names):
        logger.warning("--student-init-path %s: a new head, its classes are %s", path, names)
    state = keep_layers(source, "encoder.sentence_encoder.layers.", layers)
    widths = theirs.encoder_embed_dim, model.args.encoder_embed_dim
    if widths[0] < widths[1]:
        raise ValueError(
            f"--encoder-embed-dim must be at most {widths[0]}, the width of --student-init-path "
            f"{path}, got {widths[1]}"
        )
    wider = widths[0] > widths[1]
    if wider:  # its heads are of another shape than the student's, and fairseq would warn
        state = {n: value for n, value in state.items() if not n.startswith(HEADS)}
    try:
        model.upgrade_state_dict(state)  # old names; heads that the student lacks or that differ go
    except Exception as error:  # fairseq expects parts that a head may lack
        raise ValueError(f"its weights are not a RoBERTa's ({error!r:.100})") from error
    _check_settings(theirs, model, path, [n for n in ENCODER if not (wider and n in SIZES)])
    words, taken = other_dictionary(path, checkpoint, dictionary), ""
    if words is not None:
        state.update(_rows_by_symbol(state, words, dictionary))
        taken = f", and the embeddings of {len(dictionary)} of its {len(words)} symbols"
    if wider:
        source = _narrowed(model, state, source, theirs, path)
        state.update(source)
    _agree_on_token_types(model, state, safe_getattr(theirs, "token_types", 1), path)
    if not model.args.untie_weights_roberta:  # one parameter of two names
        state["encoder.lm_head.weight"] = state["encoder.sentence_encoder.embed_tokens.weight"]

    expected = model.state_dict()
    for name, value in expected.items():
        if name not in state:
            raise ValueError(f"it has no {name}")
        if state[name].shape != value.shape:
            raise ValueError(
                f"{name} is {tuple(state[name].shape)}, the student's is {tuple(value.shape)}: "
                "width, vocabulary and --max-positions must be equal"
            )
        _check_numbers(name, state[name])
        if name.startswith(HEADS) and state[name] is source.get(name):
            _check_settings(theirs, model, path, HEAD)
    for name in sorted(state.keys() - expected.keys()):
        if ".sentence_encoder." in name and not name.endswith(".version"):
            raise ValueError(f"it has {shown(name)}, which the student lacks")
    model.load_state_dict({name: state[name] for name in expected})
    types = model.args.token_types
    logger.info(
        "student initialised from layers %s of %s; token types: %d%s", layers, path, types, taken
    )
    return wider


def _check_numbers(name: str, value: Tensor) -> None:
    if not (value.is_floating_point() and is_finite(value)):
        raise ValueError(f"its {name} is not made of finite numbers")


def _narrowed(
    model, state: Dict[str, Tensor], source: Dict[str, Tensor], theirs: Namespace, path: str
) -> Dict[str, Tensor]:
    """The student's weights, and its heads' where the checkpoint has them for as many classes."""
    check_narrow(theirs, model.args, path)
    ours = model.state_dict()
    state = {name: w for name, w in state.items() if not name.startswith(HEADS)}
    args = {**vars(theirs), "encoder_layers": model.args.encoder_layers}
    try:
        with random_states_kept(), no_larger_than(source):
            wide = MixKDRobertaModel.build_model(
                Namespace(**args), Namespace(source_dictionary=model.encoder.dictionary)
            ).eval()
            for name, classes in heads_of(source).items():
                head = {n: w for n, w in source.items() if n.startswith(f"{HEADS}{name}.")}
                units = len(head[f"{HEADS}{name}.out_proj.weight"].T)
                if len(ours.get(f"{HEADS}{name}.out_proj.weight", ())) == classes and (
                    units >= model.args.encoder_embed_dim
                ):
                    wide.register_classification_head(name, classes, units)
                    state.update(head)
            for name in wide.state_dict().keys() & state.keys():
                _check_numbers(name, state[name])
            wide.load_state_dict(state)
    except RuntimeError as error:  # torch's, of names and shapes
        raise ValueError(f"its weights do not fit its settings ({in_short(error)})") from error
    weights, share = narrow(wide, model.args)
    logger.info(
        "student narrowed from %d to %d: principal components with %.1f%% of hidden states",
        *(theirs.encoder_embed_dim, model.args.encoder_embed_dim, 100 * share),
    )
    return weights


def _rows_by_symbol(
    state: Dict[str, Tensor], theirs: Dictionary, ours: Dictionary
) -> Dict[str, Tensor]:
    """The weights that have a row for each of their symbols, with the rows of ours."""
    missing = [symbol for symbol in ours.symbols if symbol not in theirs.indices]
    if missing:
        raise ValueError(
            f"its vocabulary must have every symbol of the data's, lacks {len(missing)} of "
            f"{len(ours)}, such as {missing[0]!r}: encode the data with its tokenizer, or with "
            "a part of it (--trim-vocabulary)"
        )
    rows, taken = [theirs.indices[symbol] for symbol in ours.symbols], {}
    for name in filter(state.__contains__, WORDS):
        shape = tuple(state[name].shape)
        if shape[:1] != (len(theirs),):
            raise ValueError(f"its {name} is {shape}, its dictionary has {len(theirs)} symbols")
        taken[name] = state[name][rows]
    return taken


def _check_settings(theirs: Namespace, model, path: str, names: Sequence[str]) -> None:
    """Raise ValueError if the student has another setting than its initial weights."""
    for name in names:
        usual = FAIRSEQ_EPS if name == "layer_norm_eps" else None
        ours, value = (safe_getattr(args, name, usual) for args in (model.args, theirs))
        if name == "layer_norm_eps" and model.args.layer_norm_eps is None:
            model.set_layer_norm_eps(value)
        elif ours != value:
            raise ValueError(
                f"{as_flag(name)} must be {value}, as in --student-init-path {path}, got {ours}"
            )


def _agree_on_token_types(model, state: Dict[str, Tensor], theirs: int, path: str) -> None:
    """The student has as many as its initial weights, unless a flag or --arch asks for two."""
    ours = model.args.token_types
    if ours is None:
        model.set_token_types(theirs)
    elif theirs > ours:
        raise ValueError(
            f"--token-types must be {theirs}, as in --student-init-path {path}, got {ours}"
        )
    elif theirs < ours:
        state.update({n: zeros_like(w) for n, w in model.state_dict().items() if n.endswith(TABLE)})
        logger.info("%s has one token type: the student's two begin as zeros, equal to it", path)
