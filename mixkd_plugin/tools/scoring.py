"""Trained checkpoints, loaded with a task on a data folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ..checkpoints.checks import (
    check_dictionaries,
    check_inputs,
    check_vocabulary,
    is_finite,
    layout_settings,
)
from ..checkpoints.configured import read_configured, sentence_task
from ..checkpoints.hf_weights import folder_of
from ..checkpoints.outputs import DEFAULT_HEAD, check_names, heads_of, names_of
from ..checkpoints.settings import boolean, integer, shown_names, text
from ..data.labels import check_separators
from ..errors import prefixed
from ..fingerprints import class_names, num_texts
from ..models.hf_folder import read_as_checkpoint
from ..models.rebuild import build, model_class
from ..modules.token_types import number_of_types
from ..names import as_flag
from .cli import named
from .labels import is_unnamed, read_outputs

# Settings that must be equal in all checkpoints that are compared.
SHARED_SETTINGS = ("num_classes", "regression_target", "multi_label")
CURE = "encode the data with --labels in its order, or import it with --labels in the data's"

Batch = dict[str, Any]


class Loaded(NamedTuple):
    """
    cfg: the file's settings
    names: of the outputs: None if they are the data's classes, empty if they are not known, else
        the file's own
    """

    path: str
    model: torch.nn.Module
    cfg: Mapping[str, Any]
    task: Any
    names: Sequence[str] | None = None

    @property
    def data(self) -> str:
        return self.task.cfg.data

    @property
    def multi_label(self) -> bool:
        return bool(self.task.cfg.get("multi_label"))  # fairseq's own task lacks it

    @property
    def num_texts(self) -> int:
        """Of an example: 1, or 2 of a pair."""
        return num_texts(self.data)

    @property
    def problem_type(self) -> str:
        """Its kind of label, by the name in transformers."""
        if self.task.cfg.regression_target:
            return "regression"
        return f"{'multi' if self.multi_label else 'single'}_label_classification"

    @property
    def reads(self) -> tuple:
        """All that its batches depend on: the folder, a custom task, how texts are shortened."""
        cfg, kind = self.task.cfg, type(self.task)
        own = None if kind.__module__.startswith(("fairseq.", "mixkd_plugin.")) else kind
        method = str(cfg.shorten_method)
        cut = () if method == "none" else (method, cfg.max_positions, cfg.shorten_data_split_list)
        return cfg.data, own, *cut

    def logits(self, batch: Batch) -> Tensor:
        head = self.task.cfg.classification_head_name
        with torch.no_grad():
            logits, _ = self.model(
                **batch["net_input"], features_only=True, classification_head_name=head
            )
        return logits.float()


def load(path: str, data: str, head: str | None = None, other_names: bool = False) -> Loaded:
    """A checkpoint's model, and a task on the data folder for it.

    Args:
        head: the classification head to use (default: that of its settings, or its only one)
        other_names: whether its classes may have other names, or another order

    Raises:
        ValueError: if it cannot be used, or its vocabulary or labels are not the folder's.
    """
    return load_state(path, _read(path, data, head), data, head, other_names)


def _read(path: str, data: str, head: str | None) -> dict[str, Any]:
    folder = folder_of(path)
    if folder is None:
        return read_configured(path)
    with prefixed(f"{path} on {data}"):
        check_dictionaries(f"data folder {data}", data, regression=True)  # only that of the texts
        words = Dictionary.load(str(Path(data, "input0", "dict.txt")))
        words.add_symbol("<mask>")
        classes, labels = Path(data, "label", "dict.txt"), None
        if classes.exists() and is_unnamed(read_outputs(folder).names):  # others are matched
            labels = class_names(Dictionary.load(str(classes)))
        return read_as_checkpoint(folder, words, head or DEFAULT_HEAD, labels)


def load_state(
    path: str, state: dict[str, Any], data: str, head: str | None = None, other_names: bool = False
) -> Loaded:
    """:func:`load`, of a checkpoint that was read already."""
    cfg, weights, own = state["cfg"], state["model"], None
    with prefixed(f"{path} on {data}"):
        model_class(cfg["model"])
        head, classes = _head(cfg, weights, head)
        sections = [boolean(cfg[name], "regression_target") for name in ("task", "criterion")]
        positions = integer(cfg["model"], "max_positions", 512, least=1)
        check_dictionaries(f"data folder {data}", data, any(sections))
        check_inputs(state, data)
        task = sentence_task(cfg["task"], data, head, classes, any(sections), positions)
        check_vocabulary(path, state, task.source_dictionary)
        names = None if task.cfg.regression_target else class_names(task.label_dictionary)
        if names is not None:
            own = (names_of(path, state, names)[1] or []) if other_names else None
            if own is None or len(own) not in (0, classes):
                check_names(path, state, names, CURE)
            if len(names) != classes:
                raise ValueError(
                    f"its head {head!r} has {classes} outputs, the data has the {len(names)} "
                    f"classes {', '.join(names)}: give a folder with the classes that it was "
                    "trained on"
                )
        model = build(cfg["model"], weights, head, classes, task)
        if number_of_types(model) > 1:
            check_separators(data, task.source_dictionary)
        if not all(map(is_finite, model.parameters())):
            raise ValueError("its weights are not all finite numbers")
    return Loaded(path, model, cfg, task, None if own == names else own)


def load_trained(checkpoint: str, data: str | None, head: str | None = None) -> Loaded:
    """:func:`load`, with the data folder of its training unless another one is given."""
    state = read_configured(checkpoint)
    if not any(name.startswith("classification_heads.") for name in state["model"]):
        raise ValueError(f"{checkpoint} has no classification head: is it fine-tuned?")
    folder = data or state["cfg"]["task"].get("data") or ""
    if not Path(folder, "input0", "dict.txt").is_file():
        raise ValueError(f"--data must be its data folder, got {folder!r} without input0/dict.txt")
    return load_state(checkpoint, state, folder, head)


def _head(cfg: Mapping[str, Any], weights: Mapping[str, Tensor], head: str | None):
    """Its name and number of outputs."""
    heads = heads_of(weights)
    if not heads:
        raise ValueError("it has no classification head: was it trained on sentence prediction?")
    said = text(cfg["task"], "classification_head_name")
    said = text(cfg["criterion"], "classification_head_name") if said is None else said
    found = head or said or DEFAULT_HEAD
    if head is None and found not in heads and len(heads) == 1:
        (found,) = heads  # published checkpoints have settings of another training
    if found not in heads:
        raise ValueError(
            "--classification-head-name must be one of its heads, "
            f"{shown_names(heads)}, got {found!r}"
        )
    declared = integer(cfg["task"], "num_classes", heads[found])
    if found == said and declared > 0 and declared != heads[found]:
        raise ValueError(
            f"its head {found!r} has {heads[found]} outputs, its setting num_classes is {declared}"
        )
    return found, heads[found]


def load_all(
    paths: Mapping[str, str],
    data: str,
    teacher: str,
    teacher_data: str | None,
    head: str | None = None,
) -> dict[str, Loaded]:
    """Checkpoints {name: path} with one data folder; the teacher may have its own.

    Args:
        head: see :func:`load`

    Raises:
        ValueError: if a checkpoint cannot be used, or two read the data differently.
    """
    if teacher_data is not None and len(paths) == 1:
        raise ValueError(
            f"--teacher-data must be given with a student's checkpoint, got {teacher_data} alone"
        )
    for flag, folder in (("DATA_DIR", data), ("--teacher-data", teacher_data)):
        if folder is not None:
            check_dictionaries(
                f"{flag} {folder}", folder, regression=True
            )  # only that of the texts
    folders = {**dict.fromkeys(paths, data), teacher: teacher_data or data}
    loaded = {}
    for name, path in paths.items():
        with named("CHECKPOINT", path):
            loaded[name] = load(path, folders[name], head, other_names=True)
    _check_alike(loaded)
    return loaded


def _check_alike(loaded: Mapping[str, Loaded]) -> None:
    (first_name, first), *others = loaded.items()
    layout = layout_settings(first.data)
    for name, other in others:
        for key in SHARED_SETTINGS + (layout if first.data == other.data else ()):
            ours, theirs = (one.task.cfg.get(key, False) for one in (first, other))
            if ours != theirs:
                flag = as_flag(key)
                raise ValueError(
                    f"{name} was trained with {flag} {theirs}, {first_name} with {ours}"
                )
