"""The outputs of a classification head: how many, which classes they are, and their order."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..fingerprints import class_names
from .checks import dictionaries, load_dictionary, warn_not_found
from .hf_weights import folder_of
from .settings import shown, shown_names

DEFAULT_HEAD = "sentence_classification_head"  # fairseq's name
MOST_CLASSES = 1 << 20


def heads_of(weights: Dict[str, Tensor]) -> Dict[str, int]:
    """The classification heads in a checkpoint, and how many outputs each has.

    Raises:
        ValueError: for one that fairseq cannot load either.
    """
    prefix, suffix = "classification_heads.", ".out_proj.weight"
    if any(n.startswith(prefix) and n.endswith(f"{suffix}_orig") for n in weights):
        raise ValueError(
            "it was trained with --spectral-norm-classification-head, whose weights neither "
            "fairseq nor this package loads: train it without the flag"
        )
    return {
        name[len(prefix) : -len(suffix)]: weight.size(0)
        for name, weight in weights.items()
        if name.startswith(prefix) and name.endswith(suffix) and weight.dim() == 2
    }


def check_head(model_state: Dict[str, Tensor], head: str, num_classes: int) -> None:
    heads = heads_of(model_state)
    if head not in heads:
        present = shown_names(heads) or "none: is it fine-tuned?"
        raise ValueError(
            f"it has no classification head {head!r} (--classification-head-name), only {present}"
        )
    if heads[head] != num_classes:
        raise ValueError(
            f"its head {head!r} has {heads[head]} classes, --num-classes is {num_classes}"
        )


def names_of(
    path: str, state: Dict[str, Any], ours: Sequence[str]
) -> Tuple[str, Optional[List[str]]]:
    """A checkpoint's own names of its outputs and where they are; None if they are not known.

    Those that it recorded win if they are ``ours``: data beside it may be new since then.

    Args:
        path, state: the checkpoint, as :func:`configured.read_configured` has it
    """
    recorded = state["fingerprint"].get("labels")
    if recorded == ours:
        return "recorded", recorded
    found = None if folder_of(path) else next(dictionaries(path, state, "label/dict.txt"), None)
    if found is not None:
        theirs = class_names(load_dictionary(found))
        if recorded is None or theirs != ours:
            return f"{found} has", theirs
    return "recorded", recorded


def declared_names(raw: Dict[str, Any], cure: str = "change it in config.json") -> List[str]:
    """A Hugging Face classifier's names of its outputs; transformers' LABEL_0, ... without any.

    Args:
        raw: its config.json
        cure: what the user can do about wrong ones

    Raises:
        ValueError: if they are not those of the outputs 0, 1, ...
    """
    given, count = raw.get("id2label"), raw.get("num_labels", 2)
    if type(count) is not int or not 0 < count < MOST_CLASSES:
        raise ValueError(f"num_labels must be the number of classes, got {shown(count)}: {cure}")
    named = {str(i): n for i, n in enumerate(given)} if isinstance(given, list) else given
    named = named or {str(i): f"LABEL_{i}" for i in range(count)}
    names = [named.get(str(i)) for i in range(len(named))] if isinstance(named, dict) else [None]
    if not all(isinstance(name, (str, int)) for name in names):
        raise ValueError(
            f"id2label must have a text for each of the outputs 0, 1, ..., got {shown(given)}: "
            f"{cure}"
        )
    return [*map(str, names)]


def check_names(
    path: str, state: Dict[str, Any], ours: Sequence[str], cure: str, stated: bool = False
) -> None:
    """Raise ValueError unless the outputs are the data's classes, in their order.

    Args:
        ours: the data's classes, in the order of the outputs
        cure: what the user can do where they differ
        stated: whether the user gave this order: then the names may be others
    """
    where, theirs = names_of(path, state, ours)
    if theirs is None and not stated:
        warn_not_found(path, "labels")
    if theirs is None or theirs == ours:
        return
    other_names = [sorted(map(str.casefold, names)) for names in (theirs, ours)]
    if not stated or other_names[0] == other_names[1]:
        raise ValueError(
            f"its labels differ from the data's: {where} {theirs!r:.2000}, here {ours!r:.2000}: "
            f"{cure}"
        )


def in_our_case(theirs: Sequence[str], ours: Sequence[str]) -> List[str]:
    """Their names as ours are written, if they are not ours and differ from them by case alone."""
    named = {name.casefold(): name for name in ours}
    return [name if name in ours else named.get(name.casefold(), name) for name in theirs]


def only_numbers(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether classes 0, 1, ... declare no order, since ``theirs`` are other names."""
    return ours == [str(i) for i in range(len(theirs))] and sorted(theirs) != sorted(ours)


class StudentHead(NamedTuple):
    """The classification head that a run trains.

    classes: of the data, in the order of the outputs; None for a regression
    order: those of the checkpoint's outputs, as the user gave them (--teacher-labels)
    """

    name: str
    classes: Optional[List[str]] = None
    order: Optional[List[str]] = None

    def take(self, weights: Dict[str, Tensor], theirs: Optional[Sequence[str]]) -> bool:
        """Change the weights of a head of ``theirs`` in place: it has our order, or it is removed.

        Returns whether it stays. It is removed if it is of other classes.
        """
        theirs, ours = self.order or theirs, self.classes
        if ours is None or theirs is None or only_numbers(ours, theirs):
            return True
        renamed = in_our_case(theirs, ours)
        every = heads_of(weights).get(self.name) == len(ours)
        if renamed == ours or (every and sorted(renamed) == sorted(ours)):
            put_in_order(weights, self.name, renamed, ours)
            return True
        for name in [n for n in weights if n.startswith(f"classification_heads.{self.name}.")]:
            del weights[name]
        return False


def put_in_order(weights: Dict[str, Tensor], head: str, order: Sequence[str], ours: Sequence[str]):
    """Change a head's outputs in place: from the ``order`` that they have to that of ``ours``."""
    if list(order) == list(ours):
        return
    rows = torch.tensor([list(order).index(name) for name in ours])
    for name in ("weight", "bias"):
        values = weights.get(f"classification_heads.{head}.out_proj.{name}")
        if values is not None:
            values.copy_(values[rows])
