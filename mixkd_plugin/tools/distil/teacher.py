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
from ...models.rebuild import model_class
from ...models.roberta_settings import roberta_settings
from ..export.texts import spread
from ..hf_config import EncoderConfig, read_config
from ..import_hf.import_hf import HEAD
from ..import_hf.layout import PADDING_INDEX
from ..import_hf.source import find_source
from ..interop import library, quiet
from ..texts.names import join_names
from ..tokenizers.subwords import build_tokenizer
from .data import Data
from .labels import Matched, match_labels
from .steps import Steps

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
    after: tuple[str, ...]  # steps that made it


def find_teacher(args: argparse.Namespace) -> Source:
    """Raises ValueError where it cannot be read."""
    if args.encoder:
        folder = find_source(args.encoder)
        return Source(folder, read_config(folder), 0, None)
    if os.path.isfile(args.teacher):
        state = read_configured(args.teacher)
        heads = heads_of(state["model"])
        if HEAD not in heads:
            raise ValueError(f"--teacher must have a head {HEAD}, got {args.teacher}")
        names = Path(args.teacher).with_name("label") / "dict.txt"
        known = (
            [line.split()[0] for line in names.read_text(encoding="utf-8").splitlines()]
            if names.is_file()
            else []
        )
        return Source(args.teacher, None, heads[HEAD], known[: heads[HEAD]] or None)
    folder = find_source(args.teacher)
    config = read_config(folder)
    named = config.raw.get("id2label") or {}
    named = (
        list(named) if isinstance(named, list) else [str(named[k]) for k in sorted(named, key=int)]
    )
    outputs = len(named) or config.raw.get("num_labels", 2)
    unnamed = all(re.fullmatch(r"LABEL_\d+|\d+", name) for name in named)
    return Source(folder, config, outputs, None if unnamed else named)


def labels_of(source: Source, data: Data, given: str | None) -> Matched:
    """The data's label of each output."""
    if data.classes is None:
        if source.outputs > 1:
            raise ValueError(f"--teacher must be a regression for the data's numbers, got "
                             f"{source.outputs} classes: --label names another column")  # fmt: skip
        return Matched([], [])
    if not source.outputs:
        return Matched(list(data.classes), [])
    if source.regression:
        raise ValueError(
            f"--teacher must be a classifier for the classes {join_names(data.classes)}, got a regression"
        )

    def confusion() -> np.ndarray:
        if source.config is None:
            raise ValueError(
                f"--labels must name the outputs of {source.path}, which has no label/dict.txt beside it"
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


def prepare(args: argparse.Namespace, source: Source, names: list[str], steps: Steps) -> Teacher:
    """Import the teacher, or the encoder; ``names``: of its outputs, [] for a regression."""
    if source.config is None:
        tokenizer = args.tokenizer or f"hf:{os.path.dirname(os.path.abspath(source.path))}"
        return Teacher(Path(source.path).resolve(), tokenizer, sizes_of(source.path), ())
    kind = "encoder" if args.encoder else "teacher"
    folder = steps.work / kind
    more = ["--encoder-only"] if args.encoder else []
    if names and source.names is None and not args.encoder:
        more = ["--labels", join_names(names)]
    files = [
        p
        for p in sorted(Path(source.path).iterdir())
        if p.suffix in (".json", ".txt", ".model", ".safetensors", ".bin")
    ]
    steps.tool(
        kind,
        f"Importing the {kind}",
        ["import_hf", source.path, folder, *more],
        folder,
        inputs=files,
    )
    return Teacher(folder / "model.pt", f"hf:{folder}", sizes_of(str(folder / "model.pt")), (kind,))


def sizes_of(checkpoint: str) -> Namespace:
    state = read_configured(checkpoint)
    settings = state["cfg"]["model"]
    return roberta_settings(model_class(settings), settings, state["model"], PADDING_INDEX)


def tokens_of(tokenizer: str, examples: Sequence) -> np.ndarray:
    """Tokens of each example, special ones included."""
    cut = build_tokenizer(tokenizer)
    columns = zip(*(e.texts for e in examples))
    lengths = np.sum(
        [[len(pieces) for pieces in cut.encode_batch(list(texts))] for texts in columns], axis=0
    )
    inputs = len(examples[0].texts)
    return lengths + 1 + inputs + (inputs - 1) * cut.separators
