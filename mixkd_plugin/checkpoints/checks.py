"""Checks of a checkpoint against the data.

A teacher with another vocabulary or label order than its student would not crash, but give wrong
targets. Each check raises one ``ValueError``; the caller adds the name of the file.
"""

import logging
import os
from typing import Any, Dict, Iterator, Optional, Tuple

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ..errors import in_short, prefixed
from ..fingerprints import check_regular, fingerprint, num_texts
from ..names import as_flag
from .settings import boolean, integer, shown

logger = logging.getLogger(__name__)

_LARGEST_DICTIONARY = 100 << 20  # bytes: ten times the largest known vocabulary
ONE_TEXT = "reads_one_text"  # in the extra_state of an earlier import: pairs are not supported


def check_dictionaries(what: str, folder: str, regression: bool) -> None:
    """A data folder must hold its dictionaries; ``what`` names it in errors."""
    for name in ["input0/dict.txt"] + ([] if regression else ["label/dict.txt"]):
        path = os.path.join(folder, name)
        with prefixed(what):
            dictionary = load_dictionary(path)
        if len(dictionary) == dictionary.nspecial:
            raise ValueError(f"{what}: {path} has no symbol")


def check_special_tokens(cfg, dictionary: Dictionary) -> None:
    """The symbols that a task adds to texts must be in its dictionary."""
    for name in ("init_token", "separator_token"):
        value = cfg[name]
        if value is not None and not 0 <= value < len(dictionary):
            raise ValueError(
                f"{as_flag(name)} must be an index of the dictionary, 0 to {len(dictionary) - 1}, "
                f"got {value}"
            )


REGRESSION, MULTI_LABEL = "regression (--regression-target)", "several labels (--multi-label)"
ONE_LABEL = "classification (one class for each text)"


def kind_of(cfg) -> Optional[str]:
    """The kind of label of a task and its criterion, by their settings; None if these lack it."""
    if boolean(cfg["task"], "multi_label"):
        return MULTI_LABEL
    found = [boolean(cfg[section], "regression_target") for section in ("task", "criterion")]
    known = [value for value in found if value is not None]
    return (REGRESSION if any(known) else ONE_LABEL) if known else None


def check_kind(cfg, regression: bool, multi_label: bool) -> None:
    """The teacher must have been trained with the same kind of label."""
    theirs, ours = kind_of(cfg), REGRESSION if regression else ONE_LABEL
    ours = MULTI_LABEL if multi_label else ours
    if theirs not in (None, ours):
        raise ValueError(f"it was trained for {theirs}, this run is {ours}")


def layout_settings(data: str) -> Tuple[str, ...]:
    """The flags of a task that determine the layout of ``data``; a single text has no separator."""
    return ("init_token", "separator_token") if num_texts(data) > 1 else ("init_token",)


def check_layout(cfg, reads) -> None:
    """The teacher must have been trained with the init and separator tokens of its input."""
    for name in layout_settings(reads.data):
        ours, theirs = getattr(reads, name), integer(cfg["task"], name)
        if name in cfg["task"] and theirs != ours:
            raise ValueError(
                f"{as_flag(name)} must be {theirs}, with which it was trained, got {ours}: give "
                "the former, or --teacher-data, which has its training's layout"
            )


def check_inputs(state: Dict[str, Any], data: str) -> None:
    """Refuse pairs for a checkpoint of an earlier import, which kept one of two token types."""
    extra = state.get("extra_state")
    one_text = isinstance(extra, dict) and extra.get(ONE_TEXT)
    if one_text and num_texts(data) > 1:
        raise ValueError(
            "it was imported from a classifier with two token types, of which it has one, and "
            f"{data} has pairs (input1): import it again, with both; "
            "`mixkd import --one-token-type` permits pairs with one"
        )


def check_vocabulary(path: str, state: Dict[str, Any], dictionary: Dictionary) -> None:
    """Compare words with ``state``, which is as :func:`configured.read_configured` has it."""
    roberta, other = "sentence_encoder.embed_tokens.weight", "embed_tokens.weight"
    weights = state["model"].items()
    rows = [w.size(0) for n, w in weights if w.dim() and (n == other or n.endswith(roberta))]
    if not rows:
        raise ValueError(
            f"it is no RoBERTa encoder: it has no {roberta}; and none that extends "
            f"mixkd_plugin.MixupModel: it has no {other}"
        )
    if rows[0] != len(dictionary):
        raise ValueError(
            f"its vocabulary has {rows[0]} types, the data's has {len(dictionary)}: encode its "
            "data with its own tokenizer (as --teacher-data, where the student has another one)"
        )
    check_words(path, state, dictionary)


def check_words(path: str, state: Dict[str, Any], dictionary: Dictionary) -> None:
    """By the record where there is one: data in the checkpoint's folder may be new since then."""
    recorded = state["fingerprint"].get("vocabulary")
    ours = fingerprint(dictionary, None)["vocabulary"]
    if recorded is not None and recorded == ours:
        return
    found = next(dictionaries(path, state, "input0/dict.txt", "dict.txt"), None)
    if found is not None:
        _check_symbols(found, load_dictionary(found), dictionary)
    if recorded is not None:
        raise ValueError(
            f"its vocabulary differs from the data's: recorded {shown(recorded)}, here {ours}"
        )
    if found is None:
        warn_not_found(path, "vocabulary")


def other_dictionary(
    path: str, state: Dict[str, Any], dictionary: Dictionary
) -> Optional[Dictionary]:
    """The dictionary that a checkpoint was trained with; None if it is equal to ``dictionary``.

    Raises:
        ValueError: as :func:`check_words`, if it is not found.
    """
    recorded = state["fingerprint"].get("vocabulary")
    if recorded == fingerprint(dictionary, None)["vocabulary"]:
        return None
    for found in dictionaries(path, state, "input0/dict.txt", "dict.txt"):
        theirs = load_dictionary(found)
        theirs.add_symbol("<mask>")
        if recorded in (None, fingerprint(theirs, None)["vocabulary"]):
            break
    else:
        check_words(path, state, dictionary)
        return None
    return None if theirs.symbols == dictionary.symbols else theirs


def warn_not_found(path: str, what: str) -> None:
    logger.warning(
        "%s: ITS %s WAS NOT FOUND, SO NOT COMPARED WITH THE DATA'S: with another one, its logits "
        "are wrong without an error; put its dict.txt (label/dict.txt) beside it",
        *(path, what.upper()),
    )


def dictionaries(path: str, state: Dict[str, Any], *names: str) -> Iterator[str]:
    """Those in the checkpoint's own data folder, and beside it, in this order.

    A relative folder comes last: here it may be another one of the same name.
    """
    data, beside = state["cfg"]["task"].get("data"), os.path.dirname(os.path.abspath(path))
    folders = [data, beside] if data and os.path.isabs(data) else [beside, data]
    paths = (os.path.join(folder, name) for folder in folders if folder for name in names)
    return filter(os.path.isfile, paths)


def load_dictionary(path: str) -> Dictionary:
    if check_regular(path).st_size > _LARGEST_DICTIONARY:
        raise ValueError(f"{path} must be a dictionary of fairseq, got a file too large for one")
    try:
        return Dictionary.load(path)
    except Exception as error:  # the file may be of another program
        raise ValueError(f"{path} must be a dictionary of fairseq: {in_short(error)}") from error


def _check_symbols(path: str, theirs: Dictionary, ours: Dictionary) -> None:
    theirs.add_symbol("<mask>")  # as fairseq's task does
    for i, (their_symbol, our_symbol) in enumerate(zip(theirs.symbols, ours.symbols)):
        if their_symbol != our_symbol:
            raise ValueError(
                f"its vocabulary ({path}) differs from the data's: symbol {i} is "
                f"{their_symbol!r}, here {our_symbol!r}"
            )
    if len(theirs) != len(ours):
        raise ValueError(
            f"its vocabulary ({path}) has {len(theirs)} symbols, the data's {len(ours)}"
        )


def check_positions(max_positions: int, longest: int, own_data: Optional[str]) -> None:
    """``own_data``: the flag of a folder that only the teacher reads."""
    if max_positions < longest:
        cure = f"lower --max-positions to {max_positions}, or shorten the data"
        if own_data:
            cure = f"encode it with --max-length {max_positions}, or add --shorten-method truncate"
        raise ValueError(
            f"it takes at most {max_positions} tokens, {own_data or 'the data'} has an example of "
            f"{longest}: {cure}"
        )


def check_finite(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Every parameter must be a finite number, in the type that the teacher will compute in."""
    for name, parameter in model.named_parameters():
        if not is_finite(parameter):
            raise ValueError(f"its parameter {name} is not finite in {dtype} (--teacher-dtype)")


def is_finite(values: Tensor) -> bool:
    if values.numel() == 0:
        return True
    return all(map(torch.isfinite, values.detach().aminmax()))  # nan appears in both
