"""What a teacher must share with the data, checked before the first update.

A teacher that differs from its student in vocabulary or label order does not crash: it teaches
nonsense. Each check raises one ``ValueError``; the caller adds which file it was about.
"""

import hashlib
import logging
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.data import Dictionary
from torch import Tensor

logger = logging.getLogger(__name__)

ONE_TEXT = "reads_one_text"  # in the extra_state of an import: pairs would be read otherwise


def fingerprint(dictionary: Dictionary, labels: Optional[Dictionary]) -> Dict[str, Any]:
    """What our task leaves in its checkpoints, to be checked when the data folder is gone.

    ``labels`` is None for regression.
    """
    digest = hashlib.sha256("\n".join(dictionary.symbols).encode()).hexdigest()
    return {"vocabulary": digest, "labels": None if labels is None else class_names(labels)}


def check_dictionaries(what: str, folder: str, regression: bool) -> None:
    """A data folder must hold its dictionaries; ``what`` names it in errors."""
    for name in ["input0/dict.txt"] + ([] if regression else ["label/dict.txt"]):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise ValueError(f"{what}: {path} does not exist")


def class_names(labels: Dictionary) -> List[str]:
    """The classes of a label dictionary in their order, without special and padding symbols."""
    names = labels.symbols[labels.nspecial :]
    return [name for name in names if name != "<mask>" and not name.startswith("madeupword")]


def check_head(model_state: Dict[str, Tensor], head: str, num_classes: int) -> None:
    prefix, suffix = "classification_heads.", ".out_proj.weight"
    heads = {
        name[len(prefix) : -len(suffix)]: weight.size(0)
        for name, weight in model_state.items()
        if name.startswith(prefix) and name.endswith(suffix)
    }
    if head not in heads:
        present = ", ".join(sorted(heads)) or "none: is it fine-tuned?"
        raise ValueError(
            f"it has no classification head {head!r} (--classification-head-name), only {present}"
        )
    if heads[head] != num_classes:
        raise ValueError(
            f"its head {head!r} has {heads[head]} classes, --num-classes is {num_classes}"
        )


def check_regression(cfg, regression: bool) -> None:
    """The task that trained the teacher must have had the same ``--regression-target``."""
    sections = [cfg[s] for s in ("task", "criterion") if cfg.get(s) is not None]
    theirs = [bool(s["regression_target"]) for s in sections if "regression_target" in s]
    if theirs and any(theirs) != regression:
        kinds = {True: "regression (--regression-target)", False: "classification"}
        raise ValueError(
            f"it was trained for {kinds[not regression]}, this run is {kinds[regression]}"
        )


def layout_settings(data: str) -> Tuple[str, ...]:
    """Of a task, what lays out the texts of ``data``: in a single one nothing is separated."""
    pairs = os.path.isdir(os.path.join(data, "input1"))
    return ("init_token", "separator_token") if pairs else ("init_token",)


def check_layout(cfg, reads) -> None:
    """The teacher's texts must have begun, and pairs have been divided, as those that it reads."""
    for name in layout_settings(reads.data):
        ours = getattr(reads, name)
        if name in cfg.task and cfg.task[name] != ours:
            raise ValueError(
                f"it was trained with --{name.replace('_', '-')} {cfg.task[name]}, this run has "
                f"{ours}; allowed is the same, or --teacher-data, which is read as it was trained"
            )


def check_inputs(state: Dict[str, Any], data: str) -> None:
    """An imported classifier with two token types is right on single texts alone."""
    extra = state.get("extra_state")
    one_text = isinstance(extra, dict) and extra.get(ONE_TEXT)
    if one_text and os.path.isdir(os.path.join(data, "input1")):
        raise ValueError(
            "it was imported from a classifier with two token types, of which it has one, and "
            f"{data} has pairs (input1): import_hf --one-token-type lets it read them all the same"
        )


def check_vocabulary(
    path: str, state: Dict[str, Any], dictionary: Dictionary, labels: Optional[Dictionary]
) -> None:
    """Compare words and labels symbol by symbol, and with what the checkpoint recorded of them.

    Its dictionaries may lie in its own data folder and beside it, in this order.

    Args:
        path, state: the checkpoint, as :func:`safe_reading.read_configured` has it
        labels: None for regression
    """
    roberta, other = "sentence_encoder.embed_tokens.weight", "embed_tokens.weight"
    weights = state["model"].items()
    rows = [w.size(0) for name, w in weights if name == other or name.endswith(roberta)]
    if not rows:
        raise ValueError(
            f"it is no RoBERTa encoder: it has no {roberta}; and none that extends "
            f"mixkd_plugin.MixupModel: it has no {other}"
        )
    if rows[0] != len(dictionary):
        raise ValueError(f"its vocabulary has {rows[0]} types, the data's has {len(dictionary)}")
    recorded = state.get("task_state", {}).get("fingerprint", {})
    folders = [state["cfg"].task.data, os.path.dirname(os.path.abspath(path))]
    ours = fingerprint(dictionary, labels)
    words = _find(folders, "input0/dict.txt", "dict.txt")
    _compare("vocabulary", dictionary, ours["vocabulary"], words, recorded.get("vocabulary"))
    if labels is not None:
        names = _find(folders, "label/dict.txt")
        _compare("labels", labels, ours["labels"], names, recorded.get("labels"))


def _compare(what: str, dictionary: Dictionary, ours: Any, path: Optional[str], recorded: Any):
    """By the record where there is one: data in the teacher's folder may be new since then."""
    if recorded is not None and recorded == ours:
        return
    if path is not None:
        _check_symbols(what, path, dictionary)
    if recorded is not None:
        raise ValueError(f"its {what} differ from the data's: recorded {recorded}, here {ours}")
    if path is None:
        logger.warning("the teacher's %s was not found, so not compared with the data's", what)


def _find(folders: Sequence[str], *names: str) -> Optional[str]:
    paths = (os.path.join(folder, name) for folder in folders for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def _check_symbols(what: str, path: str, ours: Dictionary) -> None:
    theirs = Dictionary.load(path)
    theirs.add_symbol("<mask>")  # as fairseq's task does
    for i, (their_symbol, our_symbol) in enumerate(zip(theirs.symbols, ours.symbols)):
        if their_symbol != our_symbol:
            raise ValueError(
                f"its {what} ({path}) differ from the data's: symbol {i} is {their_symbol!r}, "
                f"here {our_symbol!r}"
            )
    if len(theirs) != len(ours):
        raise ValueError(f"its {what} ({path}) have {len(theirs)} symbols, the data's {len(ours)}")


def check_positions(max_positions: int, longest: int, own_data: Optional[str]) -> None:
    """``own_data``: the flag of a folder that the teacher alone reads."""
    if max_positions < longest:
        cure = f"lower --max-positions to {max_positions}, or shorten the data"
        if own_data:
            cure = f"encode it with --max-tokens {max_positions}, or add --shorten-method truncate"
        raise ValueError(
            f"it takes at most {max_positions} tokens, {own_data or 'the data'} has an example of "
            f"{longest}: {cure}"
        )


def check_finite(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Every parameter must be a finite number, in the type that the teacher will compute in."""
    for name, parameter in model.named_parameters():
        if not all(map(torch.isfinite, parameter.detach().aminmax())):  # nan shows in both
            raise ValueError(f"its parameter {name} is not finite in {dtype} (--teacher-dtype)")
