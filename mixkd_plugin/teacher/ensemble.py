"""The teacher: a frozen ensemble, hidden from trainer, optimizer and checkpoints.

The task holds it as a plain object: fairseq would wrap, save, optimise and call ``train()`` on a
module.
"""

import logging
import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import torch
from fairseq.models.roberta import RobertaEncoder, RobertaModel
from torch import Tensor, nn

from .. import distributed
from ..checkpoints import checks, outputs
from ..checkpoints.configured import read_configured, sentence_task
from ..checkpoints.hf_weights import folder_of
from ..data.labels import check_separators
from ..errors import prefixed
from ..fingerprints import class_names
from ..mixup import Mix
from ..models.encode import logits_of
from ..models.hf_folder import read_as_checkpoint
from ..models.mixkd_roberta import MixKDRobertaModel
from ..models.rebuild import build, model_class
from ..modules.token_types import number_of_types

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


CURE = (
    "--teacher-labels A,B,... names the data's classes in the order of its outputs, which "
    "`mixkd compare DATA teacher=PATH --out DIR` shows; or encode the data with its --labels"
)


class TeacherInput(NamedTuple):
    """The teacher's data, and the layout of its texts."""

    data: str  # a binarised folder
    dictionary: object
    init_token: Optional[int]
    separator_token: Optional[int]
    flag: Optional[str] = None  # for errors; None: the student's data


class TeacherRequirements(NamedTuple):
    """Requirements of a teacher; see :mod:`mixkd_plugin.checkpoints.checks`."""

    reads: TeacherInput
    labels: Optional[object]  # None for regression
    head: str
    num_classes: int
    longest: int  # tokens of the longest example
    multi_label: bool = False
    order: Optional[List[str]] = None  # of the outputs; None: that of the data's classes


class TeacherEnsemble:
    """Weighted mean of the logits of frozen models.

    Args:
        models: supported by :mod:`mixkd_plugin.models.encode`
        weights: one for each model, summing to 1
        head: name of their classification head
        padding_free: compute no padding, if the model supports it
    """

    def __init__(
        self, models: Sequence[nn.Module], weights: Sequence[float], head: str, padding_free: bool
    ):
        for model in models:
            model.eval()
            model.requires_grad_(False)
            if isinstance(model, MixKDRobertaModel):
                model.args.padding_free = "on" if padding_free else "off"
        self._models = list(models)
        self._weights = list(weights)
        self._head = head
        self._padding_free = padding_free

    @torch.no_grad()  # not inference_mode, whose tensors no loss can use
    def logits(
        self, tokens: Tensor, mix: Optional[Mix] = None, states: Optional[List[Tensor]] = None
    ) -> Tensor:
        """Logits (R, C) in float32 of the sequences that :func:`models.encode.encode` has.

        ``states`` gets the hidden states of a single model.
        """
        if mix is not None:
            tokens, mix = mix.model_input(tokens)
        total = 0
        # only --teacher-dtype sets the type
        with torch.autocast(tokens.device.type, enabled=False):
            for model, weight in zip(self._models, self._weights):
                logits = logits_of(model, self._head, tokens, mix, self._padding_free, states)
                total = total + weight * logits.float()
        return total


def parse_weights(weights: Optional[str], count: int) -> List[float]:
    """``0.7:0.3`` -> [0.7, 0.3], scaled to sum 1; equal weights for None.

    Raises:
        ValueError: for another number of weights than teachers, or invalid weights.
    """
    if weights is None:
        return [1 / count] * count
    try:
        values = [float(w) for w in weights.split(":")]
    except ValueError:
        values = []
    if not all(v >= 0 for v in values) or not 0 < sum(values) < math.inf:
        raise ValueError(
            f"--teacher-weights must be numbers >= 0, not all 0, separated by colons, got {weights}"
        )
    if len(values) != count:
        raise ValueError(
            f"--teacher-weights must have one weight for each of the {count} teachers of "
            f"--teacher-path, got {weights}"
        )
    return [v / sum(values) for v in values]


def load_teacher(
    paths: Sequence[str],
    weights: Optional[str],
    expected: TeacherRequirements,
    dtype: torch.dtype,
    device: torch.device,
    padding_free: bool,
    group: distributed.BroadcastGroup,
) -> TeacherEnsemble:
    """Load and check an ensemble: one rank of the group reads it and sends it to the others.

    Raises:
        ValueError: on every rank, with the file's name.
    """
    normalised = parse_weights(weights, len(paths))
    models = []
    for path in paths:
        with distributed.raise_on_all_ranks():
            state = _read(path, expected) if group.is_source else None
        state = _shared(group, state)
        named = _prefixed(path, expected)
        with distributed.raise_on_all_ranks(), distributed.no_collectives(), named:
            model = _build(state, expected).to(device=device, dtype=dtype)
            types = number_of_types(model)
            if group.is_source:
                checks.check_finite(model, dtype)
                if types > 1:
                    check_separators(expected.reads.data, expected.reads.dictionary)
        group.broadcast_tensors([*model.parameters(), *model.buffers()])
        models.append(model)
        size = sum(p.numel() for p in model.parameters())
        of_types = ", two token types" if types > 1 else ""
        logger.info(
            "teacher %s: %s parameters%s, %s on %s", path, f"{size:,}", of_types, dtype, device
        )
    return TeacherEnsemble(models, normalised, expected.head, padding_free)


def _prefixed(path: str, expected: TeacherRequirements):
    """Adds the names of the teacher and its data to errors in its context."""
    flag = expected.reads.flag
    return prefixed(f"--teacher-path {path}" + (f" ({flag})" if flag else ""))


def read_state(path: str) -> Dict[str, Any]:
    """A checkpoint, as :func:`configured.read_configured` has it, with the flag in its errors."""
    with prefixed("--teacher-path"):  # already has the path
        return read_configured(path)


def _read(path: str, expected: TeacherRequirements) -> Dict[str, Any]:
    """A checkpoint, checked against the data."""
    folder, reads = folder_of(path), expected.reads
    ours = None if expected.labels is None else class_names(expected.labels)
    order = expected.order or ours
    state = read_state(path) if folder is None else None
    with _prefixed(path, expected):
        if state is None:
            state = read_as_checkpoint(folder, reads.dictionary, expected.head, order)
        cfg = state["cfg"]
        model_class(cfg["model"])
        checks.check_kind(cfg, ours is None, expected.multi_label)
        outputs.check_head(state["model"], expected.head, expected.num_classes)
        checks.check_layout(cfg, reads)
        checks.check_inputs(state, reads.data)
        checks.check_vocabulary(path, state, reads.dictionary)
        if ours is not None:
            outputs.check_names(path, state, order, CURE, stated=expected.order is not None)
            outputs.put_in_order(state["model"], expected.head, order, ours)
    return state


def _shared(group: distributed.BroadcastGroup, state: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    """The checkpoint on every rank; on ranks that did not read it, zeros without memory."""
    small = None
    if group.is_source:
        zeros = {name: v.new_zeros(()).expand(v.shape) for name, v in state["model"].items()}
        small = {"cfg": state["cfg"], "model": zeros}
    small = group.broadcast(small)
    return state if group.is_source else small


def _build(state: Dict[str, Any], expected: TeacherRequirements) -> nn.Module:
    """The model of a checkpoint, on its data."""
    cfg, reads = state["cfg"], expected.reads
    regression = expected.labels is None
    task = sentence_task(cfg["task"], reads.data, expected.head, expected.num_classes, regression)
    model = build(cfg["model"], state["model"], expected.head, expected.num_classes, task)
    _check_forward(model)
    checks.check_positions(model.max_positions(), expected.longest, reads.flag)
    return model


def _check_forward(model: nn.Module) -> None:
    """Raise ValueError for a forward that is not called: of a RoBERTa that takes no mixes."""
    if getattr(model, "supports_mixup", False):
        return
    for part, kind in ((model, RobertaModel), (model.encoder, RobertaEncoder)):
        if type(part).forward is not kind.forward:
            raise ValueError(
                "it must take mixes, as mixkd_plugin.models.mixkd_roberta.MixKDRobertaModel does, "
                f"since its {type(part).__name__} has a forward of its own: extend that class, and "
                "pass `mix` on"
            )
