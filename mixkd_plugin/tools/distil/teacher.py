"""The teacher as `fairseq-train` takes it, with its tokenizer and its sizes."""

import argparse
import os
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.models.roberta import RobertaModel

from ...checkpoints.configured import read_configured
from ...checkpoints.hf_weights import PREFIX, SETTINGS, files_of, folder_of
from ...checkpoints.settings import FAIRSEQ_EPS
from ...models.hf_folder import layout_of
from ...models.hf_network import build_network, read_config
from ...models.hf_parts import layer_lists, names_of_parts
from ...models.rebuild import model_class
from ...models.roberta_settings import roberta_settings
from ...names import as_flag, join_names
from ...tokenizers.hf_tokenizer import GPT2_FILES
from ...tokenizers.specs import parse_spec
from ...tokenizers.subwords import build_tokenizer
from ..export.model import wrong_head
from ..import_hf.head import ENCODER_ONLY
from ..import_hf.layout import PADDING_INDEX
from .source import AS_IT_IS, FAIRSEQ, Source
from .steps import Steps

# Of a folder's tokenizer, besides SETTINGS and *.model. Other files may be logs: they do not count.
PIECES = ("dict.txt", "vocab.txt", "vocab.json", "merges.txt", *GPT2_FILES)
READ = (".json", ".txt", ".model", ".safetensors", ".bin")  # of a Hugging Face folder
FLAGS = ("encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "max_positions")
FLAGS += ("activation_fn", "pooler_activation_fn")


class Sizes(NamedTuple):
    """
    longest: tokens of a text
    words, embedding: rows and width of the table of words
    of_layer, others: parameters of a layer, and of all but layers and words
    flags: of fairseq-train, for a RoBERTa of these sizes
    """

    layers: int
    width: int
    longest: int
    words: int
    embedding: int
    of_layer: int
    others: int
    flags: Mapping[str, Any] = {}

    def parameters(self, layers: int, words: int, width: int) -> float:
        """The number of parameters; an estimate if the width is smaller."""
        share = width / self.width
        layer = self.of_layer * share**2
        return words * self.embedding * share + layers * layer + self.others * share

    @property
    def heads(self) -> int:
        """Of a RoBERTa, which alone can be made narrower; else 1."""
        return self.flags.get("--encoder-attention-heads", 1)

    def narrowed(self, width: int) -> list[Any]:
        """Flags of fairseq-train for this width, with heads of the same size."""
        if width == self.width:
            return []
        inside = self.flags["--encoder-ffn-embed-dim"] * width // self.width
        return ["--encoder-embed-dim", width, "--encoder-attention-heads",
                width * self.heads // self.width, "--encoder-ffn-embed-dim", inside]  # fmt: skip


class Teacher(NamedTuple):
    """
    path: checkpoint, or hf:FOLDER
    tokenizer: KIND:PATH
    made_by: the steps that made it, and the data folders
    labels: the data's in the order of the outputs, for a folder whose classes have no names
    """

    path: str
    tokenizer: str
    sizes: Sizes
    made_by: tuple[str, ...]
    labels: str | None = None

    @property
    def folder(self) -> str | None:
        """Of a model that transformers computes."""
        return folder_of(self.path)

    def student(self, layers: int, init_layers: str) -> list:
        """Flags of fairseq-train for a student that begins as some of its layers."""
        start: list[Any] = ["--encoder-layers", layers, "--student-init-layers", init_layers]
        if self.folder is None:
            sizes = sum(self.sizes.flags.items(), ())
            kind = ["--arch", "mixkd_roberta", *sizes, "--student-init-path", self.path]
        else:
            longest = self.sizes.longest
            kind = ["--arch", "mixkd_hf", "--hf-model", self.folder, "--max-positions", longest]
        return kind + start


def prepare(
    args: argparse.Namespace, source: Source, names: Sequence[str], steps: Steps
) -> Teacher:
    """Import the teacher, or the encoder, where it must be; ``names``: of its outputs, if any."""
    path = os.path.abspath(source.path)
    if source.kind == AS_IT_IS:
        labels = join_names(names) if names and source.names is None and args.teacher else None
        return Teacher(f"{PREFIX}{path}", f"hf:{path}", sizes_of_folder(path), (), labels)
    if source.kind == FAIRSEQ:
        tokenizer = args.tokenizer or f"hf:{os.path.dirname(path)}"
        return Teacher(path, tokenizer, sizes_of(path), ())
    kind = "encoder" if args.encoder else "teacher"
    folder = steps.work / kind
    more = ["--encoder-only"] if args.encoder else []
    if names and source.names is None and not args.encoder:
        more = [f"--labels={join_names(names)}"]
    words = ["import_hf", path, "--out", folder, *more]
    flags = {
        "import: SOURCE": f"--{kind}",
        ENCODER_ONLY: "--encoder in the place of --teacher fine-tunes it",
    }
    steps.tool(kind, f"Importing the {kind}", words, folder, (), files_read(source), flags)
    checkpoint = str(folder / "model.pt")
    return Teacher(checkpoint, f"hf:{folder}", sizes_of(checkpoint), (kind,))


def files_read(source: Source) -> list[Any]:
    """The files on which a teacher depends."""
    if source.kind == FAIRSEQ:
        return [source.path]
    if source.kind == AS_IT_IS:
        return files_of(source.path)
    return [file for file in sorted(Path(source.path).iterdir()) if file.suffix in READ]


def files_of_tokenizer(spec: str) -> list[str]:
    """The files on which its tokens depend."""
    path = parse_spec(spec)[1]
    folder, own = folder_with(path), [path] if os.path.isfile(path) else []
    names = {*SETTINGS, *PIECES}
    found = [n for n in sorted(os.listdir(folder)) if n in names or n.endswith(".model")]
    return own + [file for file in (os.path.join(folder, n) for n in found) if os.path.isfile(file)]


def folder_with(path: str) -> str:
    """The folder of a model or tokenizer, which may be one of its files."""
    return os.path.dirname(path) or "." if os.path.isfile(path) else path


def sizes_of(checkpoint: str) -> Sizes:
    """Of a RoBERTa.

    Raises:
        ValueError: for another model, or a head that the student could not be exported with.
    """
    state = read_configured(checkpoint)
    settings, weights = state["cfg"]["model"], state["model"]
    kind = model_class(settings)
    if not issubclass(kind, RobertaModel):
        raise ValueError(
            f"--teacher must be a Hugging Face folder or fairseq's RoBERTa, got {checkpoint} of a "
            f"{kind.__name__}: `mixkd export --to hf` makes a folder of --arch mixkd_hf"
        )
    its: Namespace = roberta_settings(kind, settings, weights, PADDING_INDEX)
    eps, types = getattr(its, "layer_norm_eps", FAIRSEQ_EPS), getattr(its, "token_types", 1)
    reason = wrong_head(its.pooler_activation_fn, eps, types)
    if reason:
        raise ValueError(
            f"--teacher must have a head that the student's Hugging Face folder can have, got "
            f"{checkpoint}: {reason}; a student by `fairseq-train` can be exported to ONNX"
        )
    served = {n: w.numel() for n, w in weights.items() if ".lm_head." not in f".{n}"}
    (words,) = (w for n, w in weights.items() if n.endswith("embed_tokens.weight"))
    layers = sum(count for name, count in served.items() if re.search(r"\.layers\.\d+\.", name))
    flags = {as_flag(name): getattr(its, name) for name in FLAGS}
    return Sizes(
        its.encoder_layers, its.encoder_embed_dim, its.max_positions, *words.shape,
        layers // its.encoder_layers, sum(served.values()) - layers - words.numel(), flags,
    )  # fmt: skip


def sizes_of_folder(folder: str) -> Sizes:
    """Of an encoder of transformers.

    Raises:
        ValueError: if it does not say how many layers it has.
    """
    config = read_config(folder)
    deep, width = (getattr(config, n, None) for n in ("num_hidden_layers", "hidden_size"))
    if deep is None or width is None:
        raise ValueError(
            f"--teacher must have num_hidden_layers and hidden_size in config.json, got neither in "
            f"{folder}"
        )
    rows = config.vocab_size
    with torch.device("meta"):
        network = build_network(config)
    words = network.get_submodule(names_of_parts(network).words)
    lists = layer_lists(network, deep)[:1]  # none where layers share their weights
    layers = sum(count(network.get_submodule(name)) for name in lists)
    others, longest = count(network) - layers - count(words), layout_of(folder)["max_positions"]
    return Sizes(deep, width, longest, rows, words.embedding_dim, layers // deep, others)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def tokens_of(tokenizer: str, examples: Sequence) -> np.ndarray:
    """Tokens of each example, special ones included."""
    cut = build_tokenizer(tokenizer)
    columns = [cut.encode_batch(list(texts)) for texts in zip(*(e.texts for e in examples))]
    lengths = np.sum([[*map(len, column)] for column in columns], axis=0)
    return lengths + cut.added(len(columns))
