"""Export a trained student for serving without fairseq and this plugin.

    python -m mixkd_plugin.tools.export CHECKPOINT OUT --to hf|onnx|onnx-int8 --tokenizer hf:DIR

OUT gets the weights, config.json and the tokenizer (tokenizer.json, tokenizer_config.json):

- hf: a RobertaForSequenceClassification for AutoModelForSequenceClassification, AutoTokenizer and
  pipeline("text-classification")
- onnx: model.onnx, input_ids (batch, length) of int64 -> logits, padded with config.json's
  pad_token_id, both sizes free
- onnx-int8: the same with weights in int8

Before OUT is written, the exported tokenizer and model are compared with fairseq's on real texts.
Too large a difference of logits, or too few texts of the same class, is an error.
"""

import argparse
import math
import os

import torch
from fairseq.models.roberta import RobertaModel
from torch import Tensor

from ...checkpoints.configured import read_configured
from ...fingerprints import class_names
from .. import scoring
from ..cli import add_user_dir, command_parser, import_user_dir, positive, run_cli
from ..interop import library
from ..output import atomic_output_dir
from ..tokenizers.subwords import TOKENIZERS, build_tokenizer
from .formats import FORMATS, Logits
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

# All that an export may have written; model.ts was TorchScript's, of earlier versions.
OWNED = ("model.onnx", "model.safetensors", "model.ts", "config.json", "tokenizer.json")
OWNED += ("tokenizer_config.json",)
BATCH = 8


def export(
    checkpoint: str,
    out: str,
    to: str,
    tokenizer_spec: str,
    data: str | None = None,
    text: str | None = None,
    tolerance: float | None = None,
    force: bool = False,
    head: str | None = None,
    min_agreement: float | None = None,
    max_length: int | None = None,
) -> Parity:
    """Write ``out`` after a comparison; complete or not at all.

    Args:
        data: its data folder (default: the one of its training)
        text: file with a text on each line, or a pair with a tab between, to compare on; default:
            the data's validation texts
        tolerance, min_agreement: see :func:`check_parity`
        head: the classification head to serve, see :func:`scoring.load`
        max_length: tokens to which texts are cut (default: the student's positions)

    Raises:
        ValueError: for any problem; then nothing is written.
    """
    tokenizer = build_tokenizer(tokenizer_spec)
    folder = os.path.dirname(tokenizer.dictionary) or "."
    if os.path.isdir(out) and os.path.samefile(folder, out):
        raise ValueError(f"OUT must be another folder than that of --tokenizer, got {out}")
    first = FORMATS[to].file
    with atomic_output_dir(out, (first, *OWNED), force) as work:
        loaded = load(checkpoint, data, head)
        task, longest = loaded.task, loaded.model.max_positions()
        texts = read_texts(text) if text is not None else validation_texts(task, tokenizer)
        rows = [fairseq_row(texts_of_one, tokenizer, task) for texts_of_one in texts]
        check_fit(rows, tokenizer_spec, task.source_dictionary)
        texts = [t for t, row in zip(texts, rows) if len(row) <= longest]
        rows = [row for row in rows if len(row) <= longest]
        if not rows:
            where = f"--text {text}" if text is not None else f"{task.cfg.data}, split valid"
            raise ValueError(f"{where} must have a text of at most {longest} tokens, got none")
        inputs = ({"net_input": {"src_tokens": row[None]}} for row in rows)
        wanted = torch.cat([loaded.logits(batch) for batch in inputs])
        exported = tokenizer_of(loaded, tokenizer_spec, tokenizer)
        if max_length is not None and max_length > longest:
            raise ValueError(f"--max-length must be at most {longest}, got {max_length}")
        write_tokenizer(exported, work, max_length or longest)
        labels = None if task.cfg.regression_target else class_names(task.label_dictionary)
        FORMATS[to].write(to_transformers(loaded, exported, labels), work)
        auto = library("transformers").AutoTokenizer.from_pretrained(work, local_files_only=True)
        probes = [*texts, *marked_copies(texts, tokenizer.markers)]
        for cut in (
            lambda t: exported.tokenizer.encode(*t).ids,
            # lists, since transformers ignores a single empty second text
            lambda t: auto(*([text] for text in t))["input_ids"][0],
        ):
            check_pieces(cut, probes, tokenizer, task, exported.rows)
        found = served_logits(work, to, texts, exported)
        return check_parity(wanted, found, to, tolerance, labels is not None, min_agreement)


def load(checkpoint: str, data: str | None, head: str | None = None) -> scoring.Loaded:
    """The checkpoint with the data folder it was trained on, or the one given."""
    state = read_configured(checkpoint)
    if not any(name.startswith("classification_heads.") for name in state["model"]):
        raise ValueError(f"{checkpoint} has no classification head: is it fine-tuned?")
    folder = data or state["cfg"]["task"].get("data") or ""
    if not os.path.isfile(os.path.join(folder, "input0", "dict.txt")):
        raise ValueError(f"--data must be its data folder, got {folder!r} without input0/dict.txt")
    loaded = scoring.load_state(checkpoint, state, folder, head)
    if not isinstance(loaded.model, RobertaModel):
        kind = type(loaded.model).__name__
        raise ValueError(f"CHECKPOINT must be of a RoBERTa, got {checkpoint} of a {kind}")
    return loaded


def tokenizer_of(loaded: scoring.Loaded, spec: str, tokenizer) -> Exported:
    """What :func:`export` makes of a tokenizer for this student."""
    dictionary, cfg = loaded.task.source_dictionary, loaded.task.cfg
    symbols = (None if i is None else dictionary[i] for i in (cfg.init_token, cfg.separator_token))
    return export_tokenizer(spec, tokenizer, dictionary, *symbols)


def open_export(folder: str, to: str, loaded: scoring.Loaded, tokenizer_spec: str) -> Logits:
    """The export in ``folder``, as a function of the student's own token ids (B, T)."""
    rows = tokenizer_of(loaded, tokenizer_spec, build_tokenizer(tokenizer_spec)).rows
    indices = torch.zeros(len(loaded.task.source_dictionary), dtype=torch.long)
    indices[torch.tensor(rows)] = torch.arange(len(rows))
    logits = FORMATS[to].open(folder)
    return lambda tokens: logits(indices[tokens])


def served_logits(folder: str, to: str, texts: list[Texts], exported: Exported) -> Tensor:
    """Logits of the export in ``folder`` for texts, by its own tokenizer, in padded batches."""
    tokenizer = library("tokenizers").Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_padding(pad_id=exported.padding)
    logits, parts = FORMATS[to].open(folder), []
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            batch = [t if len(t) == 2 else t[0] for t in texts[start : start + BATCH]]
            ids = [encoding.ids for encoding in tokenizer.encode_batch(batch)]
            parts.append(logits(torch.tensor(ids)))
    return torch.cat(parts)


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("export", __doc__)
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="trained on sentence prediction")
    add("out", metavar="OUT", help="folder to write")
    add("--to", required=True, choices=FORMATS, help="format")
    add("--tokenizer", required=True, metavar="KIND:PATH", help="; ".join(TOKENIZERS.values()))
    add("--data", metavar="DIR", help="data folder (default: the one of training)")
    add("--text", metavar="FILE", help="texts for the comparison (default: the data's split valid)")
    add("--tolerance", type=float, metavar="D", help="largest difference of logits allowed")
    shares = ", ".join(f"{name}: {form.agreement:g}" for name, form in FORMATS.items())
    add("--min-agreement", type=float, metavar="SHARE",
        help="least share, 0 to 1, of texts with fairseq's class; for regression, correlation of "
             f"the outputs (default: {shares})")  # fmt: skip
    add("--max-length", type=positive, metavar="N",
        help="tokens to which texts are cut (default: the student's positions)")  # fmt: skip
    add("--force", action="store_true", help="replace an earlier export in OUT")
    add("--classification-head-name", metavar="NAME", help=scoring.HEAD_HELP)
    add_user_dir(parser)
    return parser


def work(args: argparse.Namespace) -> None:
    import_user_dir(args.user_dir)
    parity = export(
        args.checkpoint, args.out, args.to, args.tokenizer, args.data, args.text, args.tolerance,
        args.force, args.classification_head_name, args.min_agreement, args.max_length,
    )  # fmt: skip
    path = os.path.join(args.out, FORMATS[args.to].file)
    print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB")
    same = "" if math.isnan(parity.agreement) else f", {parity.agreement:.1%} of one class with it"
    print(
        f"compared with fairseq on {parity.texts} texts: logits differ by at most "
        f"{parity.difference:.2e} (allowed: {parity.bound:.2e}){same}"
    )


def main(argv=None):
    run_cli("export", build_parser, work, argv)
