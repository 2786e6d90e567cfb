"""The work of `export`: a student for serving without fairseq and this plugin.

An ONNX model takes input_ids (batch, length) of int64, padded with config.json's pad_token_id; with
two token types attention_mask and token_type_ids, too. Before the folder is written, tokenizer and
model are compared with fairseq's on real texts.
"""

import os
from typing import Callable

import torch
from fairseq.models.roberta import RobertaModel
from torch import Tensor

from ...checkpoints.hf_weights import SETTINGS, WEIGHT_FILES
from ...fingerprints import class_names
from ...interop import library
from ...models.mixkd_hf import MixKDHFModel
from ...modules.token_types import in_second_text, number_of_types
from ...tokenizers.subwords import build_tokenizer
from .. import scoring
from ..cli import named
from ..output import atomic_output_dir
from ..remembered import named_tokenizer, read_encoding
from .formats import FORMATS
from .model import to_transformers
from .parity import Parity, check_parity
from .texts import (
    Texts,
    check_fit,
    check_pieces,
    fairseq_row,
    marked_copies,
    read_texts,
    validation_texts,
)
from .tokenizer import Exported, export_tokenizer, write_tokenizer

WEIGHTS = (*WEIGHT_FILES, "model.onnx", "model.ts")  # the last: TorchScript's, of earlier versions
BATCH = 8


def export(
    checkpoint: str,
    out: str,
    to: str,
    tokenizer_spec: str | None = None,
    data: str | None = None,
    text: str | None = None,
    tolerance: float | None = None,
    force: bool = False,
    head: str | None = None,
    min_agreement: float | None = None,
    max_length: int | None = None,
) -> Parity:
    """Write ``out`` atomically, after a comparison.

    Args:
        tokenizer_spec: KIND:PATH (default: the one that encoded the data)
        data: its data folder (default: the one of its training)
        text: file with a text on each line, or a pair with a tab between, to compare on; default:
            the data's validation texts
        tolerance, min_agreement: see :func:`check_parity`
        head: the classification head to serve, see :func:`scoring.load`
        max_length: tokens to which texts are cut, see :func:`longest_of`

    Raises:
        ValueError: for any problem; then nothing is written.
    """
    form = FORMATS[to]
    check_other_weights(out, form.file)
    with atomic_output_dir(out, (*form.files, *SETTINGS), force) as work:
        loaded = load(checkpoint, data, head)
        if to != "hf" and isinstance(loaded.model, MixKDHFModel):
            raise ValueError(f"--to must be hf for a student of --arch mixkd_hf, got {to}")
        tokenizer_spec = named_tokenizer(loaded.data, tokenizer_spec)
        tokenizer = build_tokenizer(tokenizer_spec)
        folder = os.path.dirname(tokenizer.dictionary) or "."
        if os.path.samefile(folder, out):
            raise ValueError(f"--out must be another folder than that of --tokenizer, got {out}")
        task, longest = loaded.task, longest_of(loaded, max_length)
        texts = read_texts(text) if text is not None else validation_texts(task, tokenizer)
        rows = [fairseq_row(texts_of_one, tokenizer, task, longest) for texts_of_one in texts]
        check_fit(rows, tokenizer_spec, task.source_dictionary)
        inputs = ({"net_input": {"src_tokens": row[None]}} for row in rows)
        wanted = torch.cat([loaded.logits(batch) for batch in inputs])
        exported = tokenizer_of(loaded, tokenizer_spec, tokenizer)
        write_tokenizer(exported, work, longest)
        labels = classes_of(loaded)
        form.write(to_transformers(loaded, exported, labels), work)
        auto = library("transformers").AutoTokenizer.from_pretrained(work, local_files_only=True)
        probes = [*texts, *marked_copies(texts, [*tokenizer.markers, "\n", "\r\n"])]
        for cut in (
            lambda t: exported.tokenizer.encode(*t).ids,
            # lists, since transformers ignores a single empty second text
            lambda t: auto(*([text] for text in t), truncation=True)["input_ids"][0],
        ):
            check_pieces(cut, probes, tokenizer, task, longest, exported.rows)
        found = served_logits(work, to, texts, exported)
        return check_parity(
            wanted, found, to, tolerance, labels is not None, min_agreement, loaded.multi_label
        )


def check_other_weights(out: str, own: str) -> None:
    """Of another format: they read the same config.json and tokenizer, and may be another model."""
    found = [name for name in WEIGHTS if name != own and os.path.lexists(os.path.join(out, name))]
    if found:
        raise ValueError(
            f"--out must have no weights of another format, got {out} with {found[0]}: name "
            "another folder"
        )


def load(checkpoint: str, data: str | None, head: str | None = None) -> scoring.Loaded:
    """The checkpoint with the data folder it was trained on, or the one given."""
    with named("CHECKPOINT", checkpoint):
        loaded = scoring.load_trained(checkpoint, data, head)
    if not isinstance(loaded.model, (RobertaModel, MixKDHFModel)):
        kind = type(loaded.model).__name__
        raise ValueError(
            f"CHECKPOINT must be of a RoBERTa or of --arch mixkd_hf, got {checkpoint} of a {kind}"
        )
    return loaded


def longest_of(loaded: scoring.Loaded, max_length: int | None = None) -> int:
    """Tokens of the longest text (default: as the data was encoded, else the model's positions)."""
    positions = loaded.model.max_positions()
    if max_length is not None and max_length > positions:
        raise ValueError(f"--max-length must be <= {positions}, its positions, got {max_length}")
    return max_length or min(read_encoding(loaded.data).max_length or positions, positions)


def classes_of(loaded: scoring.Loaded) -> list[str] | None:
    """Names of the classes, with the blanks that fairseq's have not; None: a regression."""
    if loaded.task.cfg.regression_target:
        return None
    spelling = read_encoding(loaded.data).spelling
    return [spelling.get(name, name) for name in class_names(loaded.task.label_dictionary)]


def tokenizer_of(loaded: scoring.Loaded, spec: str, tokenizer) -> Exported:
    """What :func:`export` makes of a tokenizer for this student."""
    dictionary, cfg = loaded.task.source_dictionary, loaded.task.cfg
    symbols = (None if i is None else dictionary[i] for i in (cfg.init_token, cfg.separator_token))
    return export_tokenizer(spec, tokenizer, dictionary, *symbols, number_of_types(loaded.model))


def open_export(
    folder: str, to: str, loaded: scoring.Loaded, tokenizer_spec: str
) -> Callable[[Tensor], Tensor]:
    """The export in ``folder``, as a function of the student's own token ids (B, T)."""
    rows = tokenizer_of(loaded, tokenizer_spec, build_tokenizer(tokenizer_spec)).rows
    dictionary = loaded.task.source_dictionary
    indices = torch.zeros(len(dictionary), dtype=torch.long)
    indices[torch.tensor(rows)] = torch.arange(len(rows))
    logits = FORMATS[to].open(folder)
    return lambda tokens: logits(indices[tokens], in_second_text(tokens, dictionary.eos()).long())


def served_logits(folder: str, to: str, texts: list[Texts], exported: Exported) -> Tensor:
    """Logits of the export in ``folder`` for texts, by its own tokenizer, in padded batches."""
    tokenizer = library("tokenizers").Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_padding(pad_id=exported.padding)
    logits, parts = FORMATS[to].open(folder), []
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            batch = [t if len(t) == 2 else t[0] for t in texts[start : start + BATCH]]
            cut = tokenizer.encode_batch(batch)
            inputs = ([encoding.ids for encoding in cut], [encoding.type_ids for encoding in cut])
            parts.append(logits(*map(torch.tensor, inputs)))
    return torch.cat(parts)
