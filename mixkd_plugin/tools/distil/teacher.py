"""The teacher as a checkpoint with its tokenizer and its classes.

`prepare` is the one place that knows the kinds of teachers.
"""

import argparse
import os
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...checkpoints.checks import heads_of
from ...checkpoints.configured import read_configured
from ...checkpoints.settings import boolean
from ...interop import library, quiet
from ...models.rebuild import model_class
from ...models.roberta_settings import roberta_settings
from ...tokenizers.subwords import build_tokenizer
from ..export.texts import spread
from ..hf_config import EncoderConfig, read_config
from ..import_hf.head import MULTI_LABEL
from ..import_hf.import_hf import HEAD
from ..import_hf.layout import PADDING_INDEX
from ..import_hf.source import find_source
from ..texts.names import join_names
from .data import Data
from .labels import Matched, match_labels
from .steps import Steps

READ = (".json", ".txt", ".model", ".safetensors", ".bin")  # of a Hugging Face folder
ASKED = 500  # dev texts by which labels are matched


class Source(NamedTuple):
    """What is known of a teacher before the data is read."""

    path: str  # Hugging Face folder, or checkpoint
    config: EncoderConfig | None  # of a Hugging Face folder
    outputs: int  # 0: an encoder without a head
    names: list[str] | None  # its own of the outputs

    @property
    def regression(self) -> bool:
        if self.config is not None and self.config.raw.get("problem_type") == "regression":
            return True
        return self.outputs == 1


class Teacher(NamedTuple):
    checkpoint: Path
    tokenizer: str  # KIND:PATH
    sizes: Namespace  # the model's settings, by fairseq's names
    words: int  # in its vocabulary
    after: tuple[str, ...]  # the steps before


def find_teacher(args: argparse.Namespace) -> Source:
    """Raises ValueError where it cannot be read."""
    if args.encoder:
        folder = find_source(args.encoder)
        return Source(folder, read_config(folder), 0, None)
    if os.path.isfile(args.teacher):
        return _fairseq_source(args.teacher)
    folder = find_source(args.teacher)
    config = read_config(folder)
    _check_kind(args.teacher, config.raw.get("problem_type") == MULTI_LABEL)
    named = config.raw.get("id2label") or {}
    if isinstance(named, dict):
        named = [named[key] for key in sorted(named, key=int)]
    unnamed = all(re.fullmatch(r"LABEL_\d+|\d+", str(name)) for name in named)
    outputs = len(named) or config.raw.get("num_labels", 2)
    return Source(folder, config, outputs, None if unnamed else [str(name) for name in named])


def _check_kind(path: str, multi_label: bool) -> None:
    if multi_label:
        raise ValueError(
            f"--teacher must be trained for one class for each text or a regression, got {path}, "
            "trained for several labels: encode --multi-label, then fairseq-train distils it"
        )


def _fairseq_source(path: str) -> Source:
    """A checkpoint; its classes are in its data folder, or beside it."""
    state = read_configured(path)
    _check_kind(path, bool(boolean(state["cfg"]["task"], "multi_label")))
    heads, task = heads_of(state["model"]), state["cfg"]["task"]
    if HEAD not in heads:
        raise ValueError(f"--teacher must have the head {HEAD}, got {path} with {[*heads]}")
    folders = (task.get("data") or "", os.path.dirname(path))
    files = [Path(folder, "label", "dict.txt") for folder in folders]
    found = [file.read_text(encoding="utf-8") for file in files if file.is_file()][:1]
    names = [line.split()[0] for text in found for line in text.splitlines() if line.strip()]
    regression = boolean(task, "regression_target")
    names = None if regression else names[: heads[HEAD]] or None
    return Source(path, None, 1 if regression else heads[HEAD], names)


def labels_of(source: Source, data: Data, given: str | None) -> Matched:
    """The data's label of each output.

    Raises:
        ValueError: where teacher and data do not fit each other.
    """
    if not source.outputs:
        return Matched(list(data.classes or ()), [])
    if source.regression != (data.classes is None):
        kinds = "a regression", f"a classifier of {source.outputs} classes"
        raise ValueError(
            f"--teacher must be {kinds[data.classes is not None]} for the data's labels, got "
            f"{kinds[not source.regression]}: --label names another column"
        )
    if data.classes is None:
        return Matched([], [])

    def confusion() -> np.ndarray:
        if source.config is None:
            raise ValueError(
                f"--labels must be given for {source.path}, which has no label/dict.txt"
            )
        asked = spread(data.dev, ASKED)
        counts = np.zeros((len(data.classes), source.outputs), int)
        for example, answer in zip(asked, answers(source.path, [e.texts for e in asked])):
            counts[data.classes.index(example.label), answer] += 1
        return counts

    return match_labels(data.classes, source.outputs, source.names, given, confusion)


def answers(folder: str, texts: Sequence[tuple[str, ...]], batch: int = 32) -> list[int]:
    """The classes that a Hugging Face classifier gives to texts or pairs, by transformers."""
    import torch

    transformers = library("transformers")
    with quiet(), torch.no_grad():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        longest = min(tokenizer.model_max_length, read_config(folder).longest)
        found = []
        for start in range(0, len(texts), batch):
            columns = (list(column) for column in zip(*texts[start : start + batch]))
            inputs = tokenizer(
                *columns, padding=True, truncation=True, max_length=longest, return_tensors="pt"
            )
            found += model(**inputs).logits.argmax(dim=1).tolist()
    return found


def prepare(
    args: argparse.Namespace, source: Source, names: Sequence[str], steps: Steps
) -> Teacher:
    """Import the teacher, or the encoder; ``names``: of its outputs, none for a regression."""
    path = os.path.abspath(source.path)
    if source.config is None:
        tokenizer = args.tokenizer or f"hf:{os.path.dirname(path)}"
        return Teacher(Path(path), tokenizer, *sizes_of(path), ())
    kind = "encoder" if args.encoder else "teacher"
    folder = steps.work / kind
    more = ["--encoder-only"] if args.encoder else []
    if names and source.names is None and not args.encoder:
        more = [f"--labels={join_names(names)}"]
    files = [file for file in sorted(Path(path).iterdir()) if file.suffix in READ]
    words = ["import_hf", path, folder, *more]
    steps.tool(kind, f"Importing the {kind}", words, folder, inputs=files)
    checkpoint = folder / "model.pt"
    return Teacher(checkpoint, f"hf:{folder}", *sizes_of(str(checkpoint)), (kind,))


def sizes_of(checkpoint: str) -> tuple[Namespace, int]:
    """The settings of a model, and the number of its words."""
    state = read_configured(checkpoint)
    settings, weights = state["cfg"]["model"], state["model"]
    sizes = roberta_settings(model_class(settings), settings, weights, PADDING_INDEX)
    (words,) = {len(w) for name, w in weights.items() if name.endswith("embed_tokens.weight")}
    return sizes, words


def tokens_of(tokenizer: str, examples: Sequence) -> np.ndarray:
    """Tokens of each example, special ones included."""
    cut = build_tokenizer(tokenizer)
    columns = [cut.encode_batch(list(texts)) for texts in zip(*(e.texts for e in examples))]
    lengths = np.sum([[*map(len, column)] for column in columns], axis=0)
    return lengths + 1 + len(columns) + (len(columns) - 1) * cut.separators
