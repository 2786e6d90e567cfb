"""The work of `import`: a Hugging Face encoder becomes a checkpoint of fairseq.

layout.py describes the conversion, and check.py compares both. A model's own code is never run.
"""

import contextlib
import os
from argparse import Namespace
from typing import Any, Dict, List, NamedTuple, Optional

import torch

from ...checkpoints.hf_weights import check_files, read_weights
from ...checkpoints.outputs import DEFAULT_HEAD
from ...checkpoints.settings import FAIRSEQ_EPS
from ...errors import in_short, prefixed
from ...interop import quiet
from ...tokenizers import hf_tokenizer
from ...tokenizers.dictionary import dictionary_of, write_dictionary
from ...tokenizers.library import PADDING
from ..hf_config import EncoderConfig, read_encoder_config
from ..output import atomic_output_dir
from .check import compare_with_transformers
from .head import Head, is_classifier, read_head
from .layout import WORDS, Weights, convert, fairseq_order, token_types
from .source import find_source

PAIR_SEPARATOR = 2  # </s>
LABELS = "label/dict.txt"
# all files of an import
OWNED = ("model.pt", "dict.txt", *hf_tokenizer.WRITTEN, "input0/dict.txt", LABELS)


class Imported(NamedTuple):
    config: EncoderConfig
    tokenizer: str  # for `encode --tokenizer`
    head: Optional[Head]
    found: List[str]  # description of the tokenizer, to be printed
    types: int  # token types
    compared: int  # texts and pairs
    of_pairs: float  # the logits' difference, see check.py


def import_encoder(
    source: str,
    out_dir: str,
    force: bool = False,
    labels: Optional[List[str]] = None,
    encoder_only: bool = False,
    one_token_type: bool = False,
) -> Imported:
    """Write the folder ``out_dir`` atomically.

    Args:
        labels: names of the classes, in the order of the head's outputs (default: the source's,
            else 0, 1, ...)
        encoder_only: leave out the head
        one_token_type: of two token types keep the first, for both texts of a pair

    Raises:
        ValueError: for a problem of the source; then ``out_dir`` is not changed.
    """
    folder = find_source(source)
    if os.path.isdir(out_dir) and os.path.samefile(folder, out_dir):
        raise ValueError(f"--out must be another folder than SOURCE, got {out_dir}")
    with atomic_output_dir(out_dir, OWNED, force) as work, prefixed(folder):
        check_files(folder)
        config = read_encoder_config(folder)
        with _readable("the weights"):
            weights = Weights(read_weights(folder), config, encoder_only)
            # first: the vocabulary's size is compared with their number
            words = weights.take(WORDS, config.vocab_size, config.hidden_size)
            outputs = None if encoder_only else weights.outputs
        head = None
        if not encoder_only and is_classifier(config, outputs is not None):
            if outputs is None:
                raise ValueError(f"the weights lack {config.family.head[1]}.weight")
            head = read_head(config, outputs, labels)
            config.theirs.num_labels = outputs
        elif labels is not None:
            raise ValueError(f"--labels must be absent without a head, got {','.join(labels)}")
        with _readable("the tokenizer"), quiet():
            theirs = hf_tokenizer.load_tokenizer(folder, config.theirs)
            types = 1
            if token_types(config) == 2 and not one_token_type:
                types = hf_tokenizer.types_of_pairs(theirs)
            tokenizer = hf_tokenizer.write_tokenizer(
                theirs, folder, work, config.longest, config.vocab_size, types
            )
        (padding,) = (i for i, symbol in tokenizer.symbols.items() if symbol == PADDING)
        if config.unused_positions not in (0, padding + 1):  # counted from the symbol's index
            raise ValueError(
                f"pad_token_id must be the tokenizer's, {padding}, got "
                f"{config.unused_positions - 1}"
            )
        dictionary, rows = fairseq_order(tokenizer.symbols, config.vocab_size)
        with _readable("the weights"):
            outputs = head and head.outputs
            state = convert(config, weights, words, rows, types, DEFAULT_HEAD, outputs)
        write_dictionary(dictionary, os.path.join(work, "dict.txt"))
        if head is not None:  # read by fairseq's sentence_prediction
            write_dictionary(dictionary, os.path.join(work, "input0", "dict.txt"))
        if head is not None and head.names is not None:
            write_dictionary(dictionary_of(head.names), os.path.join(work, LABELS))
        whole = checkpoint(config, state, head, tokenizer.separators, types)
        name = DEFAULT_HEAD if head else None
        with quiet():
            compared = compare_with_transformers(
                folder, whole, dictionary, theirs, tokenizer, rows, config, name
            )
        torch.save(whole, os.path.join(work, "model.pt"))
    found = hf_tokenizer.describe(theirs, tokenizer)
    return Imported(config, f"hf:{out_dir}", head, found, types, *compared)


@contextlib.contextmanager
def _readable(what: str):
    """Any exception in its context becomes one ValueError about ``what``."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"{what} cannot be read: {type(error).__name__}: {in_short(error)}"
        ) from error


def checkpoint(
    config: EncoderConfig,
    state: Dict[str, torch.Tensor],
    head: Optional[Head],
    separators: int,
    types: int,
) -> Dict[str, Any]:
    """A fairseq checkpoint without an optimizer, like the RoBERTa releases.

    The architecture is fairseq's `roberta`, unless LayerNorm's epsilon differs, or there are two
    token types.
    """
    kind = "masked_lm" if head is None else "sentence_prediction"
    arguments: Dict[str, Any] = dict(
        arch="roberta",
        task=kind,
        criterion=kind,
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
    if types == 2:
        arguments.update(arch="mixkd_roberta", token_types=types)
    if head is not None:
        arguments.update(
            classification_head_name=DEFAULT_HEAD,
            num_classes=head.outputs,
            regression_target=head.names is None,
            init_token=0,
            separator_token=PAIR_SEPARATOR if separators else None,
            pooler_activation_fn=config.family.head_activation,
            pooler_dropout=config.head_dropout,
        )
    if head is not None and head.multi_label:  # which fairseq's own task has not
        arguments.update(task="mixkd_sentence_prediction", criterion="mixkd", multi_label=True)
    history = {
        "criterion_name": "MaskedLmLoss" if head is None else "SentencePredictionCriterion",
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {},
        "num_updates": 0,
    }
    return {
        "args": Namespace(**arguments),
        "model": state,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }
