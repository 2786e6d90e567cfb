"""Several trained checkpoints, and the batches of a split that they read."""

import re
from collections.abc import Iterable, Mapping, Sequence
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
from ..checkpoints.hf_weights import folder_of, read_weights
from ..checkpoints.outputs import check_names, heads_of, names_of
from ..checkpoints.safe_load import read_checkpoint
from ..checkpoints.settings import boolean, integer, shown_names, text
from ..data.labels import check_separators, check_texts
from ..fingerprints import class_names, read_digests
from ..models.hf_folder import read_as_checkpoint
from ..models.rebuild import build, model_class
from ..modules.token_types import number_of_types
from .cli import named

# Settings that must be equal in all checkpoints that are compared.
SHARED_SETTINGS = ("num_classes", "regression_target", "multi_label")
CURE = "encode the data with --labels in its order, or import it with --labels in the data's"
DEFAULT_HEAD = "sentence_classification_head"  # fairseq's

Batch = dict[str, Any]


class Loaded(NamedTuple):
    """
    cfg: the file's settings
    names: its own of the outputs, where they are not the data's classes; empty if not known
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
    try:
        check_dictionaries(f"data folder {data}", data, regression=True)  # only that of the texts
        words = Dictionary.load(str(Path(data, "input0", "dict.txt")))
        words.add_symbol("<mask>")
        classes, labels = Path(data, "label", "dict.txt"), None
        if classes.exists():
            labels = class_names(Dictionary.load(str(classes)))
        return read_as_checkpoint(folder, words, head or DEFAULT_HEAD, labels)
    except ValueError as error:
        raise ValueError(f"{path} on {data}: {error}") from error


def load_state(
    path: str, state: dict[str, Any], data: str, head: str | None = None, other_names: bool = False
) -> Loaded:
    """:func:`load`, of a checkpoint that was read already."""
    cfg, weights, own = state["cfg"], state["model"], None
    try:
        model_class(cfg["model"])
        head, classes = _head(cfg, weights, head)
        sections = [boolean(cfg[name], "regression_target") for name in ("task", "criterion")]
        positions = integer(cfg["model"], "max_positions", 512, least=1)
        check_dictionaries(f"data folder {data}", data, any(sections))
        check_inputs(state, data)
        task = sentence_task(cfg["task"], data, head, classes, any(sections), positions)
        check_vocabulary(path, state, task.source_dictionary)
        names = None if task.cfg.regression_target else class_names(task.label_dictionary)
        if names is not None and other_names:
            own = names_of(path, state, names)[1] or []
        if names is not None and (own is None or len(own) not in (0, classes)):
            check_names(path, state, names, CURE)
        if names is not None and len(names) != classes:
            raise ValueError(
                f"its head {head!r} has {classes} outputs, the data has the {len(names)} classes "
                f"{', '.join(names)}: give a folder with the classes that it was trained on"
            )
        model = build(cfg["model"], weights, head, classes, task)
        if number_of_types(model) > 1:
            check_separators(data, task.source_dictionary)
        if not all(map(is_finite, model.parameters())):
            raise ValueError("its weights are not all finite numbers")
    except ValueError as error:
        raise ValueError(f"{path} on {data}: {error}") from error
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
                flag = f"--{key.replace('_', '-')}"
                raise ValueError(
                    f"{name} was trained with {flag} {theirs}, {first_name} with {ours}"
                )


def batches_of_all(
    loaded: Mapping[str, Loaded], split: str, batch_size: int
) -> dict[str, list[Batch]]:
    """Each model's batches of the split: one list for models with equal inputs.

    Raises:
        ValueError: if the folders do not have the same examples.
    """
    readers = {}
    for one in loaded.values():
        readers.setdefault(one.reads, one)
    batches = {of: make_batches(one.task, split, batch_size) for of, one in readers.items()}
    for name, one in loaded.items():
        widths = [batch["net_input"]["src_tokens"].size(1) for batch in batches[one.reads]]
        longest = max(widths, default=0)
        allowed = one.model.max_positions()
        if longest > allowed:
            raise ValueError(
                f"--split {split} must have texts of at most {allowed} tokens for {name}, got one "
                f"of {longest}: encode it with --max-tokens {allowed}"
            )
    first, *others = readers
    for other in others:
        targets = [targets_of(batches[of]) for of in (first, other)]
        _check_same_examples(readers[first], readers[other], split, *targets)
    return {name: batches[one.reads] for name, one in loaded.items()}


def _check_same_examples(
    first: Loaded, other: Loaded, split: str, ours: Tensor, theirs: Tensor
) -> None:
    digests = [read_digests(one.data).get(split) for one in (first, other)]
    ours, theirs, what = ours.double(), theirs.double(), None
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, equal_nan=True):
        what = "number or labels"
    elif not first.task.cfg.regression_target and (
        class_names(first.task.label_dictionary) != class_names(other.task.label_dictionary)
    ):
        what = "names of the classes"
    elif None not in digests and digests[0] != digests[1]:
        what = "texts"
    if what is not None:
        raise ValueError(
            f"--teacher-data must have the examples of {first.data}, got other {what} in split "
            f"{split!r} of {other.data}"
        )


def in_order(values: Sequence[Tensor], batches: Sequence[Batch]) -> Tensor:
    """Values of the sequences of batches, sorted as in the data folder."""
    return torch.cat(list(values))[torch.cat([batch["id"] for batch in batches]).argsort()]


def targets_of(batches: Sequence[Batch]) -> Tensor:
    return in_order([batch["target"] for batch in batches], batches)


def make_batches(task, split: str, batch_size: int) -> list[Batch]:
    """Every example of the split, in batches of similar length."""
    if not Path(task.cfg.data, "input0", f"{split}.idx").exists():
        raise ValueError(f"--split must be in {task.cfg.data}, got {split}")
    check_texts(task.cfg.data, split, task.source_dictionary, combine=False)
    task.load_dataset(split)
    dataset = task.dataset(split)
    order = sorted(range(len(dataset)), key=dataset.size)
    parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [dataset.collater([dataset[i] for i in part]) for part in parts]


def count_layers(names: Iterable[str]) -> int:
    """Number of layers, from the names of a model's parameters."""
    found = (re.search(r"\.(?:layers?|albert_layer_groups)\.(\d+)\.", name) for name in names)
    return len({match[1] for match in found if match})


def size_of(checkpoint: str) -> dict[str, int]:
    """Layers, parameters and bytes of a student or teacher that serving needs.

    The optimizer's state of a checkpoint is not counted.
    """
    folder = folder_of(checkpoint)
    tensors = read_checkpoint(checkpoint)["model"] if folder is None else read_weights(folder)
    names = [name for name in tensors if not name.endswith(".version")]
    distinct = {tensors[name].data_ptr(): tensors[name] for name in names}  # some are tied
    words, head = (
        next((tensors[name] for name in names if name.endswith(end)), None)
        for end in ("embed_tokens.weight", "lm_head.weight")
    )
    if words is not None and head is not None and torch.equal(words, head):  # saved by --bf16
        distinct[words.data_ptr()] = distinct.pop(head.data_ptr())
    return {
        "layers": count_layers(names),
        "parameters": sum(t.numel() for t in distinct.values()),
        "bytes": sum(t.numel() * t.element_size() for t in distinct.values()),
    }
