"""Classifiers that `predict` can read: a checkpoint of fairseq, a Hugging Face folder, ONNX."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.data import data_utils
from torch import Tensor

from ...checkpoints.checks import is_finite
from ...errors import in_short
from ...interop import library
from ...models import hf_parts
from ...models.hf_network import build_network, read_config
from ...modules.token_types import number_of_types
from ...tokenizers.hf_tokenizer import load_tokenizer
from ...tokenizers.subwords import build_tokenizer
from ..export.export import classes_of, longest_of
from ..export.formats import onnx_session
from ..export.texts import layout, validation_texts
from ..labels import Outputs, read_outputs
from ..remembered import named_tokenizer
from ..scoring import load_trained
from ..texts.examples import Texts

LOCAL = {"local_files_only": True, "trust_remote_code": False}  # a model's own code is not run
Row = Any  # the tokens of a text or a pair: what ``logits`` takes


class Student(NamedTuple):
    """
    classes: their names, in the order of the outputs; None: a regression
    outputs: how many
    longest: tokens to which a text, or a pair, is cut
    encode: rows of texts, the tokens of each, and whether it was cut
    logits: (B, C), on the CPU, of the rows of a batch
    num_texts: of an example, 1 or 2; None: not known
    multi_label: whether a text has any number of the classes
    """

    classes: list[str] | None
    outputs: int
    longest: int
    encode: Callable[[Sequence[Texts]], list[tuple[Row, int, bool]]]
    logits: Callable[[Sequence[Row]], Tensor]
    num_texts: int | None
    multi_label: bool


def open_student(
    path: str,
    max_length: int | None = None,
    device: str = "auto",
    data: str | None = None,
    tokenizer: str | None = None,
    head: str | None = None,
) -> Student:
    """The classifier at ``path``.

    Args:
        max_length: tokens of the longest text (default: as in training, or in the export)
        device: auto, or torch's name of a device
        data, tokenizer, head: of a checkpoint of fairseq, see :func:`export.export`

    Raises:
        ValueError: if it cannot be used.
    """
    onnx = path if path.endswith(".onnx") else os.path.join(path, "model.onnx")
    weights = (*Path(path).glob("*.safetensors"), *Path(path).glob("pytorch_model*.bin"))
    if os.path.isfile(onnx) and not weights:
        chosen = of_onnx(onnx, max_length, device)
    elif os.path.isfile(os.path.join(path, "config.json")):
        chosen = of_hugging_face(path, max_length, device)
    elif os.path.isfile(path):
        return of_fairseq(path, max_length, device, data, tokenizer, head)
    else:
        raise ValueError(
            f"STUDENT must be a checkpoint (.pt), a folder with config.json, or one with "
            f"model.onnx, got {path}"
        )
    for flag, value in (("data", data), ("tokenizer", tokenizer)):
        if value is not None:
            raise ValueError(f"--{flag} must be given with a checkpoint of fairseq, got {value}")
    return chosen


def device_of(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"--device must be one that torch has here, got {name}") from error


# --- fairseq ---


def of_fairseq(
    path: str,
    max_length: int | None,
    device: str,
    data: str | None,
    tokenizer_spec: str | None,
    head: str | None,
) -> Student:
    place, loaded = device_of(device), load_trained(path, data, head)
    tokenizer = build_tokenizer(named_tokenizer(loaded.data, tokenizer_spec))
    task, folder = loaded.task, Path(loaded.data)
    if tokenizer_spec is not None and (folder / "input0" / "valid.idx").is_file():
        validation_texts(task, tokenizer)  # refuses another tokenizer than that of the data
    longest = longest_of(loaded, max_length)
    padding, end = task.source_dictionary.pad(), task.source_dictionary.eos()
    loaded.model.eval().to(place)
    two_types = number_of_types(loaded.model) > 1

    def encode(texts: Sequence[Texts]) -> list[tuple[Row, int, bool]]:
        pieces = zip(*(tokenizer.encode_batch(list(column)) for column in zip(*texts)))
        rows = [layout(of_one, tokenizer, task, longest) for of_one in pieces]
        for text, (row, _) in zip(texts, rows):
            if two_types and row.eq(end).sum() != len(text):
                raise ValueError(
                    f"a text must not spell the separator ([SEP], </s>) for a model with two token "
                    f"types, got {text!r:.200}: what follows counts as the second text"
                )
        return [(row, len(row), cut) for row, cut in rows]

    def logits(rows: Sequence[Row]) -> Tensor:
        tokens = data_utils.collate_tokens(list(rows), padding).to(place)
        return loaded.logits({"net_input": {"src_tokens": tokens}}).cpu()

    outputs, several = task.cfg.num_classes, loaded.multi_label
    return Student(classes_of(loaded), outputs, longest, encode, logits, loaded.num_texts, several)


# --- transformers' folders ---


def of_hugging_face(folder: str, max_length: int | None, device: str) -> Student:
    place = device_of(device)
    outputs = read_outputs(folder)
    auto = library("transformers").AutoModelForSequenceClassification
    try:
        model, report = auto.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, dtype=torch.float32,
            **LOCAL,
        )  # fmt: skip
    except Exception as error:  # of several libraries, for files that are damaged or do not fit
        raise ValueError(f"transformers cannot read the model: {in_short(error)}") from error
    if report["mismatched_keys"]:
        wrong = sorted(key[0] for key in report["mismatched_keys"])[0]
        raise ValueError(f"config.json must fit the shape of the weights, got another of {wrong}")
    if report["missing_keys"]:  # these would be random numbers
        lacking = sorted(report["missing_keys"])[0]
        raise ValueError(f"{folder} must be a classifier with all weights, got none of {lacking}")
    if not all(map(is_finite, model.parameters())):
        raise ValueError("its weights are not all finite numbers")
    model.eval().to(place)

    def logits(batch: Any) -> Tensor:
        with torch.no_grad():
            return model(**batch.to(place)).logits.float().cpu()

    return _of_folder(folder, hf_parts.longest_of(model), outputs, logits, max_length)


def of_onnx(path: str, max_length: int | None, device: str) -> Student:
    if device not in ("auto", "cpu"):
        raise ValueError(f"--device must be cpu for ONNX, got {device}")
    session, folder = onnx_session(path), os.path.dirname(path) or "."
    outputs = read_outputs(folder)
    with torch.device("meta"):
        positions = hf_parts.longest_of(build_network(read_config(folder)))
    names = [one.name for one in session.get_inputs()]

    def logits(batch: Any) -> Tensor:
        lacking = [name for name in names if name not in batch]
        if lacking:
            raise ValueError(f"{path} must take what its tokenizer gives, got {lacking[0]}")
        found = session.run(None, {name: batch[name].numpy() for name in names})
        return torch.from_numpy(found[0]).float()

    return _of_folder(folder, positions, outputs, logits, max_length)


def _of_folder(
    folder: str,
    positions: int,
    outputs: Outputs,
    logits: Callable[[Any], Tensor],
    max_length: int | None,
) -> Student:
    """By the tokenizer of a folder of transformers."""
    tokenizer = load_tokenizer(folder)
    if max_length is not None and max_length > positions:
        raise ValueError(f"--max-length must be <= {positions}, its positions, got {max_length}")
    longest = max_length or min(tokenizer.model_max_length, positions)

    def encode(texts: Sequence[Texts]) -> list[tuple[Row, int, bool]]:
        columns = (list(column) for column in zip(*texts))
        found = tokenizer(*columns, truncation=True, max_length=longest)
        cut = [bool(one.overflowing) for one in found.encodings]
        rows = [{name: found[name][i] for name in found} for i in range(len(texts))]
        return [(row, len(row["input_ids"]), was) for row, was in zip(rows, cut)]

    def padded(rows: Sequence[Row]) -> Tensor:
        return logits(tokenizer.pad(list(rows), return_tensors="pt"))

    classes, several = None if outputs.regression else outputs.names, outputs.multi_label
    count, texts = len(outputs.names), outputs.num_texts
    return Student(classes, count, longest, encode, padded, texts, several)
