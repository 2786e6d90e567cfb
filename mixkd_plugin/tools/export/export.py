"""Export a trained student to where it is served; neither fairseq nor this plugin is needed there.

    python -m mixkd_plugin.tools.export CHECKPOINT OUT --to hf|onnx|onnx-int8|torchscript \
        --tokenizer wordpiece:DIR

OUT gets the weights and the tokenizer (tokenizer.json, tokenizer_config.json):

- hf: a RobertaForSequenceClassification for AutoModelForSequenceClassification, AutoTokenizer and
  pipeline("text-classification")
- onnx: model.onnx, input_ids (batch, length) of int64 -> logits, padded with <pad>, both sizes free
- onnx-int8: the same with weights in int8
- torchscript: model.ts, with the same input and output, for torch.jit.load and libtorch

Each export ends with a comparison: real texts, through the exported tokenizer and model and through
fairseq's. Too large a difference of logits, or too few texts of the same class, is an error, and
leaves no OUT.
"""

import argparse
import math
import os
from typing import List, NamedTuple, Optional

import torch
from fairseq.models.roberta import RobertaModel
from torch import Tensor

from ...checkpoints.checks import class_names
from ...checkpoints.configured import read_configured
from .. import scoring
from ..cli import add_user_dir, import_user_dir, run_cli
from ..interop import library
from ..output import atomic_output_dir
from ..tokenizers.subwords import TOKENIZERS, build_tokenizer
from .formats import FORMATS, Student, add_rows, write_config
from .texts import (
    Texts,
    check_fit,
    check_pieces,
    fairseq_row,
    marked_copies,
    read_texts,
    validation_texts,
)
from .tokenizer import export_tokenizer, write_tokenizer

OWNED = (
    *sorted({form.file for form in FORMATS.values()}),
    *("config.json", "tokenizer.json", "tokenizer_config.json"),
)
TOLERANCE = 1e-4  # of logits, in a format with float32 weights
INT8_SHARE = 0.2  # of the logits' range, in int8
AGREEMENT, INT8_AGREEMENT = 0.99, 0.95  # least share of texts of the same class
BATCH = 8


class Parity(NamedTuple):
    texts: int
    difference: float  # the largest, of logits
    bound: float
    agreement: float  # share of texts of the same class; nan for regression


def export(
    checkpoint: str,
    out: str,
    to: str,
    tokenizer_spec: str,
    data: Optional[str] = None,
    text: Optional[str] = None,
    tolerance: Optional[float] = None,
    force: bool = False,
    head: Optional[str] = None,
    min_agreement: Optional[float] = None,
) -> Parity:
    """Write ``out``, all or nothing, and compare.

    Args:
        data: its data folder, where it is no longer where training found it
        text: file with a text on each line, or a pair with a tab between, to compare on; default:
            the data's validation texts
        tolerance: largest difference of logits (default: TOLERANCE; int8: a share of the range)
        head: the classification head to serve, see :func:`scoring.load`
        min_agreement: least share of texts of the same class, or, for regression, correlation

    Raises:
        ValueError: saying what is wrong; nothing is written then.
    """
    form = FORMATS[to]
    tokenizer = build_tokenizer(tokenizer_spec)
    folder = os.path.dirname(tokenizer.dictionary) or "."
    if os.path.isdir(out) and os.path.samefile(folder, out):
        raise ValueError(f"OUT {out} is the folder of --tokenizer; allowed is another one")
    with atomic_output_dir(out, (form.file, *OWNED), force) as work:
        loaded = load(checkpoint, data, head)
        task, dictionary = loaded.task, loaded.task.source_dictionary
        texts = read_texts(text) if text is not None else validation_texts(task, tokenizer)
        rows = [fairseq_row(texts_of_one, tokenizer, task) for texts_of_one in texts]
        check_fit(rows, tokenizer_spec, dictionary)
        longest = loaded.model.max_positions()
        kept = [i for i, row in enumerate(rows) if len(row) <= longest]
        texts, rows = [texts[i] for i in kept], [rows[i] for i in kept]
        if not rows:
            where = f"--text {text}" if text is not None else f"{task.cfg.data}, split valid"
            raise ValueError(f"{where}: no text of at most {longest} tokens to compare on")
        inputs = ({"net_input": {"src_tokens": row[None]}} for row in rows)
        wanted = torch.cat([loaded.logits(batch) for batch in inputs])
        symbols = (
            None if index is None else dictionary[index]
            for index in (task.cfg.init_token, task.cfg.separator_token)
        )
        exported = export_tokenizer(tokenizer_spec, tokenizer, dictionary, *symbols)
        add_rows(loaded.model, exported.rows)
        write_tokenizer(exported, work, longest)
        probes = [*texts, *marked_copies(texts, tokenizer.markers)]
        indices = [*range(len(dictionary)), *exported.rows]
        check_pieces(lambda t: exported.tokenizer.encode(*t).ids, probes, tokenizer, task, indices)
        student = student_of(loaded)
        form.write(student, work)
        write_config(student, work)
        if to == "hf":
            auto = library("transformers").AutoTokenizer.from_pretrained(work)
            # in lists: an empty second text alone would be none to it
            cut = lambda t: auto(*([text] for text in t))["input_ids"][0]  # noqa: E731
            check_pieces(cut, probes, tokenizer, task, indices)
        found = served_logits(work, to, texts, dictionary.pad())
        classes = student.labels is not None
        return check_parity(wanted, found, to, tolerance, classes, min_agreement)


def load(checkpoint: str, data: Optional[str], head: Optional[str] = None) -> scoring.Loaded:
    """The checkpoint with the data folder it was trained on, or another place of it."""
    state = read_configured(checkpoint)
    if not any(name.startswith("classification_heads.") for name in state["model"]):
        raise ValueError(f"{checkpoint} has no classification head: is it fine-tuned?")
    folder = data or state["cfg"]["task"].get("data") or ""
    if not os.path.isfile(os.path.join(folder, "input0", "dict.txt")):
        raise ValueError(
            f"its data folder {folder!r} has no input0/dict.txt: --data says where one is now"
        )
    loaded = scoring.load_state(checkpoint, state, folder, head)
    if not isinstance(loaded.model, RobertaModel):
        kind = type(loaded.model).__name__
        raise ValueError(f"CHECKPOINT must be of a RoBERTa, got {checkpoint} of a {kind}")
    return loaded


def student_of(loaded: scoring.Loaded) -> Student:
    cfg, labels = loaded.task.cfg, None
    if not cfg.regression_target:
        labels = class_names(loaded.task.label_dictionary)
    return Student(
        loaded.model,
        cfg.classification_head_name,
        loaded.task.source_dictionary.pad(),
        labels,
        cfg.num_classes,
    )


# --- the comparison ---


def served_logits(folder: str, to: str, texts: List[Texts], padding: int) -> Tensor:
    """What the export in ``folder`` says, in padded batches, of texts through its own tokenizer."""
    tokenizer = library("tokenizers").Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_padding(pad_id=padding)
    logits, parts = FORMATS[to].open(folder, padding), []
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            batch = [t if len(t) == 2 else t[0] for t in texts[start : start + BATCH]]
            ids = [encoding.ids for encoding in tokenizer.encode_batch(batch)]
            parts.append(logits(torch.tensor(ids)))
    return torch.cat(parts)


def check_parity(
    wanted: Tensor,
    found: Tensor,
    to: str,
    tolerance: Optional[float],
    classes: bool,
    min_agreement: Optional[float] = None,
) -> Parity:
    """The comparison of logits (N, C).

    Raises:
        ValueError: where they differ by more than ``tolerance``, or agree less than
            ``min_agreement``.
    """
    bound = tolerance
    if bound is None and to == "onnx-int8":
        span = wanted.max() - wanted.min()
        bound = INT8_SHARE * max(span, wanted.abs().max()).item()  # one text has no range
    elif bound is None:
        bound = TOLERANCE
    difference = (found - wanted).abs().max().item()
    if not difference <= bound:
        raise ValueError(
            f"the exported student's logits differ from fairseq's by {difference:.2e} on "
            f"{len(wanted)} texts; allowed is {bound:.2e} (--tolerance)"
        )
    least = min_agreement
    if least is None:
        least = INT8_AGREEMENT if to == "onnx-int8" else AGREEMENT
    if classes:
        # of classes that fairseq has level, either is its own
        lost = wanted.max(dim=1).values - wanted.gather(1, found.argmax(dim=1)[:, None])[:, 0]
        turned, texts = int((lost > 2 * TOLERANCE).sum()), len(wanted)
        agreed, what = 1 - turned / texts, "share of one class"
        # in whole texts: one of 8 is not yet less than 95%, one of 7 is
        whole = texts >= 8 and turned <= math.ceil((1 - least) * texts - 1e-9)
        too_few = agreed < least and not whole
    else:
        agreed, what = least_correlation(wanted, found), "correlation"
        too_few = agreed < least
    if too_few:
        raise ValueError(
            f"--min-agreement must be at most {math.floor(1000 * agreed) / 1000} for this export, "
            f"got {least:g}: that is the {what} of its answers with fairseq's on {len(wanted)} "
            "texts; a lower value allows it, another --to loses less"
        )
    return Parity(len(wanted), difference, bound, agreed if classes else math.nan)


def least_correlation(wanted: Tensor, found: Tensor) -> float:
    """Over the outputs of a regression; 1 where there is none, of less than three texts."""
    pairs = zip(wanted.T.double(), found.T.double())
    found_ones = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs]
    known = [value for value in found_ones if not math.isnan(value)]
    return min(known, default=1.0) if len(wanted) > 2 else 1.0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.export", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="trained on sentence prediction")
    add("out", metavar="OUT", help="folder to write")
    add("--to", required=True, choices=FORMATS, help="format")
    add("--tokenizer", required=True, metavar="KIND:PATH", help="; ".join(TOKENIZERS.values()))
    add("--data", metavar="DIR", help="data folder, if it is not where training found it")
    add("--text", metavar="FILE", help="texts to compare on (default: the data's split valid)")
    add("--tolerance", type=float, metavar="D", help="largest difference of logits allowed")
    add("--min-agreement", type=float, metavar="SHARE",
        help="least share of texts whose class is fairseq's; for regression, least correlation of "
             f"the outputs (default: {AGREEMENT:g}; onnx-int8: {INT8_AGREEMENT:g})")  # fmt: skip
    add("--force", action="store_true", help="replace an earlier export in OUT")
    add("--classification-head-name", metavar="NAME", help=scoring.HEAD_HELP)
    add_user_dir(parser)
    return parser


def work(args: argparse.Namespace) -> None:
    import_user_dir(args.user_dir)
    parity = export(
        args.checkpoint,
        args.out,
        args.to,
        args.tokenizer,
        args.data,
        args.text,
        args.tolerance,
        args.force,
        args.classification_head_name,
        args.min_agreement,
    )
    path = os.path.join(args.out, FORMATS[args.to].file)
    print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB")
    same = "" if math.isnan(parity.agreement) else f", {parity.agreement:.1%} of one class with it"
    print(
        f"compared with fairseq on {parity.texts} texts: logits differ by at most "
        f"{parity.difference:.2e} (allowed: {parity.bound:.2e}){same}"
    )


def main(argv=None):
    run_cli("export", build_parser, work, argv)
