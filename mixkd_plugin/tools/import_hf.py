"""Import a Hugging Face encoder, with or without a classification head, as a fairseq checkpoint.

    python -m mixkd_plugin.tools.import_hf SOURCE OUT_DIR [--labels NAMES] [--force]

SOURCE is a local folder (config.json beside model.safetensors or pytorch_model.bin), the name of an
installed Python package that carries such a folder, or a name on the Hugging Face hub. Known are
BERT (MiniLM, TinyBERT), RoBERTa (DistilRoBERTa, XLM-R, CamemBERT) and DistilBERT.

OUT_DIR gets model.pt, dict.txt and the tokenizer's files, as fairseq's public RoBERTa releases have
them. An encoder is for `--student-init-path OUT_DIR/model.pt` and fairseq's `--restore-file`. A
classifier is a `--teacher-path` as it is, and a `RobertaModel.from_pretrained`; OUT_DIR/label has
its classes. How one becomes the other is told in hf_layout.py.
"""

import argparse
import contextlib
import os
from argparse import Namespace
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from fairseq.data import Dictionary

from ..model import FAIRSEQ_EPS
from . import hf_vocabulary
from .cli import run_cli
from .examples import class_name
from .hf_config import EncoderConfig, read_config
from .hf_layout import Converted, convert, fairseq_order
from .hf_source import find_source, read_weights
from .names import HINT, split_names
from .output import whole_output
from .subwords import FAIRSEQ_SPECIAL

HEAD = "sentence_classification_head"  # fairseq's default name
PAIR_SEPARATOR = 2  # </s>
LABELS = "label/dict.txt"
OWNED = ("model.pt", *hf_vocabulary.FILES, "input0/dict.txt", LABELS)


class Imported(NamedTuple):
    config: EncoderConfig
    tokenizer: str  # for `encode --tokenizer`
    classes: Optional[int]  # None without a head
    labels: Optional[List[str]]  # names of the classes; None without a head, or for regression


def import_encoder(
    source: str, out_dir: str, force: bool = False, labels: Optional[List[str]] = None
) -> Imported:
    """Write OUT_DIR, all or nothing.

    Args:
        labels: names of the classes, in the order of the head's outputs; default: the source's,
            or 0, 1, ... where it has none

    Raises:
        ValueError: saying what is wrong with the source; OUT_DIR is as it was then.
    """
    folder = find_source(source)
    if os.path.isdir(out_dir) and os.path.samefile(folder, out_dir):
        raise ValueError(f"OUT_DIR {out_dir} is SOURCE; allowed is another folder")
    with whole_output(out_dir, OWNED, force) as work:
        try:
            config = read_config(folder)
            with _readable("the tokenizer"):
                vocabulary = hf_vocabulary.read_vocabulary(folder, config.model_type)
            check_padding(config, vocabulary)
            dictionary, rows = fairseq_order(vocabulary.symbols, config.vocab_size)
            with _readable("the weights"):
                weights = read_weights(folder)
            converted = convert(config, weights, rows, HEAD)
            labels = class_names(config, converted.classes, labels)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        vocabulary.write(work)
        write_dictionary(dictionary, os.path.join(work, "dict.txt"))
        if converted.classes is not None:  # what fairseq's sentence_prediction looks for
            write_dictionary(dictionary, os.path.join(work, "input0", "dict.txt"))
        if labels is not None:
            write_dictionary(dictionary_of(labels), os.path.join(work, LABELS))
        separated = vocabulary.kind != "wordpiece"
        torch.save(checkpoint(config, converted, separated), os.path.join(work, "model.pt"))
    return Imported(config, f"{vocabulary.kind}:{out_dir}", converted.classes, labels)


@contextlib.contextmanager
def _readable(what: str):
    """In its context a file that is not built as such files are is one error."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{what} cannot be read: {type(error).__name__}: {error}") from error


def check_padding(config: EncoderConfig, vocabulary: hf_vocabulary.Vocabulary) -> None:
    """Positions that are counted from the padding symbol's index must be counted from its own."""
    names = vocabulary.symbols
    if config.pad is not None and names[config.pad : config.pad + 1] != ["<pad>"]:
        raise ValueError(
            f"pad_token_id is {config.pad}; allowed: that of <pad>, {names.index('<pad>')}"
        )


def class_names(
    config: EncoderConfig, classes: Optional[int], given: Optional[List[str]]
) -> Optional[List[str]]:
    """Names of the head's classes: given, or the source's, or their numbers; None: no classes."""
    if given is not None:
        if classes is None or is_regression(config, classes):
            raise ValueError(f"--labels {','.join(given)}: the source is no classifier")
        return _checked(given, classes, "--labels")
    if classes is None or is_regression(config, classes):
        return None
    if config.class_names is None:
        return [str(i) for i in range(classes)]
    return _checked(config.class_names, classes, "id2label")


def _checked(names: List[str], classes: int, where: str) -> List[str]:
    """Names of the classes, as they stand in a dictionary of fairseq's."""
    written = [class_name(name) for name in names]
    usable = {name for name in written if name} - {*FAIRSEQ_SPECIAL}
    if len(names) != classes or len(usable) != classes:
        raise ValueError(
            f"{where} {','.join(names)}: {classes} different names are needed (a blank counts as "
            f"_; {HINT})"
        )
    return written


def is_regression(config: EncoderConfig, classes: int) -> bool:
    return config.regression or classes == 1  # as transformers takes it


def dictionary_of(symbols: List[str]) -> Dictionary:
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary


def write_dictionary(dictionary: Dictionary, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    dictionary.save(path)
    try:
        read_back = Dictionary.load(path).symbols
    except (RuntimeError, ValueError):
        read_back = []
    if read_back != dictionary.symbols:
        raise ValueError("the vocabulary has a symbol that fairseq's dict.txt cannot hold")


def checkpoint(config: EncoderConfig, converted: Converted, separated: bool) -> Dict[str, Any]:
    """A fairseq checkpoint without an optimizer, of the kind that the RoBERTa releases are.

    fairseq's own `roberta`, but where LayerNorm's epsilon is not fairseq's. ``separated``: pairs
    are laid out with a second </s>.
    """
    arguments: Dict[str, Any] = dict(
        arch="roberta",
        task="masked_lm",
        criterion="masked_lm",
        data="",
        encoder_layers=config.num_hidden_layers,
        encoder_embed_dim=config.hidden_size,
        encoder_ffn_embed_dim=config.intermediate_size,
        encoder_attention_heads=config.num_attention_heads,
        activation_fn=config.activation,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        max_positions=config.longest,
        tokens_per_sample=config.longest,
    )
    if config.layer_norm_eps != FAIRSEQ_EPS:
        arguments.update(arch="mixkd_roberta", layer_norm_eps=config.layer_norm_eps)
    criterion = "MaskedLmLoss"
    if converted.classes is not None:
        criterion = "SentencePredictionCriterion"
        arguments.update(
            task="sentence_prediction",
            criterion="sentence_prediction",
            classification_head_name=HEAD,
            num_classes=converted.classes,
            regression_target=is_regression(config, converted.classes),
            init_token=0,
            separator_token=PAIR_SEPARATOR if separated else None,
            pooler_activation_fn=config.family.head_activation,
            pooler_dropout=config.head_dropout,
        )
    history = {
        "criterion_name": criterion,
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {},
        "num_updates": 0,
    }
    return {
        "args": Namespace(**arguments),
        "model": converted.state,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.import_hf", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="folder, installed package or Hugging Face name")
    add("out_dir", metavar="OUT_DIR", help="for model.pt, dict.txt and the tokenizer's files")
    add("--labels", metavar="A,B,...", help="names of a classifier's classes, in its own order")
    add("--force", action="store_true", help="replace an earlier import in OUT_DIR")
    return parser


def work(args: argparse.Namespace) -> None:
    labels = split_names(args.labels) if args.labels is not None else None
    done = import_encoder(args.source, args.out_dir, args.force, labels)
    config = done.config
    print(
        f"{os.path.join(args.out_dir, 'model.pt')}: {config.num_hidden_layers} layers of "
        f"{config.hidden_size}, {config.num_attention_heads} heads, {config.vocab_size} symbols, "
        f"{config.longest} positions"
    )
    if done.classes is not None:
        kind = "targets of a regression" if is_regression(config, done.classes) else "classes"
        names = f": {', '.join(done.labels)}" if done.labels else ""
        print(f"classification head {HEAD}: {done.classes} {kind}{names}")
    if config.type_vocab_size > 1:
        print("token types: all tokens have type 0 here, those of a second text too")
    print(f"encode texts with --tokenizer {done.tokenizer}")


def main(argv=None):
    run_cli("import_hf", build_parser, work, argv)


if __name__ == "__main__":
    main()
