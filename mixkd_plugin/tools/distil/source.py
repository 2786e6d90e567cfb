"""The teacher that the flags name, before the data is read, and the data's label of each output."""

import argparse
import os
from typing import NamedTuple

import numpy as np

from ...checkpoints.configured import read_configured
from ...checkpoints.hf_weights import files_of
from ...checkpoints.outputs import DEFAULT_HEAD, heads_of, names_of
from ...checkpoints.settings import boolean
from ...models.hf_folder import layout_of
from ...models.select_layers import select_layers
from ...tokenizers.library import read_json_if_there
from ..cli import named
from ..export.texts import spread
from ..hf_config import FAMILIES, read_encoder_config
from ..import_hf.head import HEADLESS
from ..import_hf.source import find_source
from ..labels import ASKED, Matched, is_unnamed, match_labels, read_outputs
from ..predict.predict import count_predictions
from .data import Data
from .recipes import check_recipes

FAIRSEQ, IMPORTED, AS_IT_IS = "fairseq", "imported", "as it is"
ONLY_IMPORTED = {  # flags, and what the families can be
    **dict.fromkeys(("onnx", "int8"), "exported to ONNX"),
    "width": "made narrower",
}


class Source(NamedTuple):
    """
    path: Hugging Face folder, or checkpoint
    kind: how it is read: FAIRSEQ; IMPORTED into fairseq's RoBERTa, which computes no padding and
        has all exports; or AS_IT_IS, by transformers
    outputs: 0: an encoder without a head
    names: its own of the outputs
    longest: tokens of its longest text; 0 for a checkpoint
    multi_label: whether it has several labels for a text
    """

    path: str
    kind: str
    outputs: int
    names: list[str] | None
    regression: bool
    longest: int
    multi_label: bool = False


def find_teacher(args: argparse.Namespace) -> Source:
    """Raises ValueError where it cannot be read."""
    given = args.encoder or args.teacher
    with named("--encoder" if args.encoder else "--teacher", given):
        if args.teacher and os.path.isfile(given):
            return _fairseq_source(given)
        folder = find_source(given)
        files_of(folder)
        if args.tokenizer:
            raise ValueError(
                f"--tokenizer must be given with a fairseq checkpoint, got {args.tokenizer}: leave "
                f"it out, since the tokenizer in {folder} is used"
            )
        raw = read_json_if_there(os.path.join(folder, "config.json"))
        kind = IMPORTED if str(raw.get("model_type")) in FAMILIES else AS_IT_IS
        for flag, what in ONLY_IMPORTED.items():
            if kind == AS_IT_IS and getattr(args, flag):
                raise ValueError(
                    f"--{flag} must be absent for model_type {raw.get('model_type')}: a student "
                    f"has its class, and only {', '.join(FAMILIES)} can be {what}"
                )
        if kind == IMPORTED:
            longest = read_encoder_config(folder).longest
        else:
            longest = layout_of(folder)["max_positions"]
        if args.encoder:
            return Source(folder, kind, 0, None, False, longest)
        built = raw.get("architectures")
        if built and str(built[0]).endswith(HEADLESS):
            raise ValueError(
                f"--teacher must be a classifier, got {given}, a {built[0]} without a head: give "
                "it as --encoder, which is fine-tuned as the teacher"
            )
        names, regression, several, _ = read_outputs(folder)
        own = None if is_unnamed(names) else names
        return Source(folder, kind, len(names), own, regression, longest, several)


def _fairseq_source(path: str) -> Source:
    """A checkpoint; its classes are in its data folder, or beside it."""
    state = read_configured(path)
    heads, task = heads_of(state["model"]), state["cfg"]["task"]
    if DEFAULT_HEAD not in heads:
        raise ValueError(f"--teacher must have the head {DEFAULT_HEAD}, got {path} with {[*heads]}")
    several = bool(boolean(task, "multi_label"))
    regression = not several and (boolean(task, "regression_target") or heads[DEFAULT_HEAD] == 1)
    found = None if regression else names_of(path, state, ())[1]
    names = found[: heads[DEFAULT_HEAD]] if found else None
    return Source(path, FAIRSEQ, heads[DEFAULT_HEAD], names, regression, 0, several)


def check_student(args: argparse.Namespace, source: Source) -> None:
    """:func:`check_sizes` of a folder that is imported, which takes minutes; others at the plan."""
    if source.kind == IMPORTED:
        its = read_encoder_config(source.path)
        shape = its.num_hidden_layers, its.hidden_size, its.num_attention_heads
        check_sizes(args, *shape, source.longest)


def check_sizes(
    args: argparse.Namespace, layers: int, width: int, heads: int, longest: int
) -> None:
    """Raise ValueError for flags that a student of a teacher of these sizes cannot have."""
    if args.layers is not None and args.layers > layers:
        raise ValueError(f"--layers must be at most {layers}, the teacher's, got {args.layers}")
    its = args.layers or half(layers)
    select_layers(args.init_layers or "spaced", layers, its, "the teacher", "--init-layers")
    if args.length is not None and args.length > longest:
        raise ValueError(
            f"--length must be at most {longest}, the teacher's positions, got {args.length}"
        )
    if args.width in (None, width):
        return
    head = width // heads
    if args.width % head or args.width > width:
        raise ValueError(
            f"--width must be a multiple of {head}, the size of the teacher's heads, and at "
            f"most {width}, its width, got {args.width}"
        )
    check_recipes(args, narrower=True)


def half(layers: int) -> int:
    """The student's, unless --layers is given."""
    return max(1, layers // 2)


_KINDS = {  # (regression, multi_label)
    (True, False): "a regression",
    (False, False): "a classifier of one class for each text",
    (False, True): "a classifier of several labels for a text",
}


def labels_of(source: Source, data: Data, given: str | None, check: bool = True) -> Matched:
    """The data's label of each output.

    Args:
        given: the value of --labels
        check: whether it is compared with the predictions of a Hugging Face classifier

    Raises:
        ValueError: where teacher and data do not fit each other.
    """
    if not source.outputs:
        return Matched(list(data.classes or ()), [])
    if source.regression != (data.classes is None) or source.multi_label != data.multi_label:
        raise ValueError(
            f"--teacher must be {_KINDS[data.classes is None, data.multi_label]} for the data's "
            f"labels, got {_KINDS[source.regression, source.multi_label]}: --label names another "
            "column"
        )
    if data.classes is None and source.outputs > 1:
        raise ValueError(
            f"--teacher must have one output for a column of numbers, got {source.outputs} in "
            f"{source.path}: of a classifier, change problem_type in config.json"
        )
    if data.classes is None:
        return Matched([], [])
    if source.kind == FAIRSEQ and given is None and [*data.classes] == source.names:
        return Matched(source.names, [])

    def confusion() -> np.ndarray:
        if source.kind == FAIRSEQ:
            raise ValueError(
                f"--labels must be given for {source.path}, whose classes have no names"
            )
        return count_predictions(source.path, spread(data.dev, ASKED), data.classes)

    names = source.names or [f"LABEL_{i}" for i in range(source.outputs)]
    unless = "--allow-weak-teacher" if check and source.kind != FAIRSEQ else None
    with named("--teacher", source.path):
        return match_labels(data.classes, names, given, confusion, unless)
