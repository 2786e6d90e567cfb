"""The tokenizer of a Hugging Face folder, read by transformers' AutoTokenizer.

The complete tokenizer is written to one tokenizer.json: normaliser, pieces, special and added
tokens. `encode --tokenizer hf:DIR` uses it with the library that transformers uses. If fairseq's
own `--bpe gpt2` or `sentencepiece` gives the same pieces, its files are written, too.
"""

import json
import os
import shutil
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

from ..errors import in_short
from ..interop import library, quiet
from ..modules.token_types import in_second_text
from .dictionary import dictionary_of, names_of_rows
from .library import (
    BERT_SPECIAL,
    FAIRSEQ_SPECIAL,
    ROLES,
    SENTENCEPIECE_FILE,
    Tokenizer,
    read_imported,
    read_json_if_there,
    with_layout,
)

GPT2_FILES = ("encoder.json", "vocab.bpe")  # of fairseq's --bpe gpt2
GPT2_END_OF_TEXT = "<|endoftext|>"
TYPE_IDS = ["token_type_ids"]  # an input of models with two token types
WRITTEN = ("tokenizer.json", "tokenizer_config.json", SENTENCEPIECE_FILE, *GPT2_FILES)


def load_tokenizer(folder: str, config: Any = None) -> Any:
    """transformers' fast tokenizer of the folder.

    Args:
        config: transformers' configuration of the model; None: the folder's own

    Raises:
        ValueError: without one, or if its class is in the model's own code.
    """
    settings = read_json_if_there(os.path.join(folder, "tokenizer_config.json"))
    if settings.get("auto_map"):
        raise ValueError(
            f"auto_map must be absent from tokenizer_config.json, got {settings['auto_map']}: a "
            "model's own code is not run"
        )
    named = settings.get("tokenizer_class") or getattr(config, "tokenizer_class", None)
    auto = library("transformers.models.auto.tokenization_auto")
    if named is not None and not _known(auto, str(named)):
        raise ValueError(f"tokenizer_class must be in transformers, got {named!r}")
    try:
        tokenizer = auto.AutoTokenizer.from_pretrained(
            folder, config=config, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # of several libraries
        kind = f" of class {named}" if named else ""
        raise ValueError(
            f"transformers cannot read the tokenizer{kind}: {in_short(error)}"
        ) from error
    if not tokenizer.is_fast:
        raise ValueError(
            "tokenizer_class must be a fast tokenizer (tokenizer.json), got "
            f"{type(tokenizer).__name__}"
        )
    _check_files(folder, tokenizer)
    if tokenizer.split_special_tokens:
        raise ValueError("split_special_tokens must be false, got true in tokenizer_config.json")
    _check_added(tokenizer.backend_tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _known(auto: Any, name: str) -> bool:
    names = (name, name.removesuffix("Fast"), f"{name}Fast")
    return any(auto.tokenizer_class_from_name(n) is not None for n in names)


def _check_added(backend: Any) -> None:
    """Raise ValueError for two added tokens that are equal after normalisation."""
    forms: Dict[str, str] = {}
    for token in backend.get_added_tokens_decoder().values():
        if token.normalized and backend.normalizer is not None:
            form = backend.normalizer.normalize_str(token.content)
            other = forms.setdefault(form, token.content)
            if other != token.content:
                raise ValueError(
                    f"added tokens must differ once normalised, got {other!r} and "
                    f"{token.content!r}, both {form!r}: take one out of the tokenizer's files"
                )


def _check_files(folder: str, tokenizer: Any) -> None:
    """Without its files transformers silently makes a tokenizer of only special symbols."""
    names: Dict[str, str] = dict(tokenizer.vocab_files_names)
    whole = names.pop("tokenizer_file", "tokenizer.json")
    if os.path.isfile(os.path.join(folder, whole)):
        return
    missing = [n for n in names.values() if not os.path.isfile(os.path.join(folder, n))]
    if missing:
        raise ValueError(f"the folder must have {whole}, or {' and '.join(missing)}, got neither")


def types_of_pairs(tokenizer: Any) -> int:
    """Token types: 1, or 2 where a pair's second text has another; ValueError for other layouts."""
    single, pair = tokenizer("a"), tokenizer("a", "a")
    found = pair.get("token_type_ids", [])
    if not any(found):
        return 1
    ids = torch.tensor(pair["input_ids"])
    wanted = in_second_text(ids, single["input_ids"][-1]).long().tolist()
    if any(single["token_type_ids"]) or found != wanted:
        raise ValueError(
            "the tokenizer must give type 1 to what follows the first separator of a pair, and "
            f"type 0 to all else, got {found} for {tokenizer.convert_ids_to_tokens(ids)}"
        )
    return 2


def write_tokenizer(
    tokenizer: Any, folder: str, out: str, longest: int, vocab_size: int, types: int = 1
) -> Tokenizer:
    """Write a tokenizer, and read it again; ``types``: its token types.

    Raises:
        ValueError: if the model has no embedding for an index, or its layout is not supported.
    """
    backend = tokenizer.backend_tokenizer
    token, last = max(backend.get_vocab(with_added_tokens=True).items(), key=lambda pair: pair[1])
    if last >= vocab_size:
        raise ValueError(
            f"vocab_size must be above the tokenizer's last index, {last} ({token!r}), got "
            f"{vocab_size}"
        )
    names = special_tokens(tokenizer)
    backend.save(os.path.join(out, "tokenizer.json"))
    settings = write_settings(names, out, longest, tokenizer.truncation_side, types)
    write_for_fairseq(tokenizer, {*names.values()}, folder, out)
    return read_imported(out, settings)


def special_tokens(tokenizer: Any) -> Dict[str, Any]:
    """The special tokens of transformers' tokenizer by ROLES; cls and sep are those it adds."""
    backend, names = tokenizer.backend_tokenizer, {}
    unknown = getattr(backend.model, "unk_token", None)
    for role, *usual in zip(ROLES, BERT_SPECIAL, FAIRSEQ_SPECIAL):
        found = getattr(tokenizer, role) or (unknown if role == "unk_token" else None)
        names[role] = found or next((n for n in usual if backend.token_to_id(n) is not None), None)
    layout = tokenizer("a")["input_ids"]
    if len(layout) > 2:  # else the reader raises an error
        ends = tokenizer.convert_ids_to_tokens([layout[0], layout[-1]])
        names["cls_token"], names["sep_token"] = ends
    return names


def read_folder_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a Hugging Face folder as it is, with the symbols that an import has."""
    if not os.path.isdir(folder):
        raise ValueError(f"DIR must be a folder, got {folder}")
    with quiet():
        tokenizer = load_tokenizer(folder)
        names = special_tokens(tokenizer)
    backend = tokenizer.backend_tokenizer
    ours = with_layout(backend, names, gpt2_numbers(json.loads(backend.to_str())))
    names_in_order = names_of_rows(ours.symbols, 1 + max(ours.symbols))
    return ours._replace(words=dictionary_of(names_in_order))


def write_settings(
    names: Dict[str, Any], out: str, longest: int, side: str, types: int = 1
) -> Dict[str, Any]:
    """A tokenizer_config.json without settings that override tokenizer.json; ``names``: ROLES."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "truncation_side": side,
        "model_input_names": ["input_ids", *TYPE_IDS[: types - 1], "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "bos_token": names["cls_token"],
        "eos_token": names["sep_token"],
        **names,
    }
    with open(os.path.join(out, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(settings, f, indent=2)
    return settings


def write_for_fairseq(tokenizer: Any, special: set, folder: str, out: str) -> None:
    """Write the files of fairseq's own `--bpe`, if it gives this tokenizer's pieces."""
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["content"] for token in description["added_tokens"]} - special
    model, before = description["model"], description["pre_tokenizer"] or {}
    pieces, numbers = os.path.join(folder, SENTENCEPIECE_FILE), gpt2_numbers(description)
    unused = all("NOTUSED" in token for token in added)  # of CamemBERT, never used
    if model["type"] == "Unigram" and unused and os.path.isfile(pieces):
        shutil.copyfile(pieces, os.path.join(out, SENTENCEPIECE_FILE))
    if numbers is None:
        return
    with open(os.path.join(out, "encoder.json"), "w", encoding="utf-8") as f:
        json.dump(numbers, f)
    plain = before.get("use_regex", True) and not before["add_prefix_space"]
    if plain and description["normalizer"] is None and not added:
        with open(os.path.join(out, "vocab.bpe"), "w", encoding="utf-8", newline="\n") as f:
            f.write("\n".join(["#version: 0.2", *map(" ".join, merges_of(model)), ""]))


def merges_of(model: Dict[str, Any]) -> List[Tuple[str, str]]:
    """The merges of a BPE model in a tokenizer.json, older files of which have texts."""
    return [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]


def gpt2_numbers(description: Dict[str, Any]) -> Optional[Dict[str, int]]:
    """GPT-2's numbers of the tokens of a tokenizer.json; None unless it is byte-level BPE.

    GPT-2 numbers the bytes first and then what each merge makes: for RoBERTa's the dictionary is
    the one that fairseq's own releases have.
    """
    model, before = description["model"], description["pre_tokenizer"] or {}
    if model["type"] != "BPE" or before.get("type") != "ByteLevel" or model["end_of_word_suffix"]:
        return None
    made = [*bytes_to_unicode().values(), *map("".join, merges_of(model))]
    return {token: i for i, token in enumerate([*dict.fromkeys(made), GPT2_END_OF_TEXT])}


def describe(tokenizer: Any, ours: Tokenizer) -> List[str]:
    """A description of the tokenizer, to be printed."""
    backend = tokenizer.backend_tokenizer
    normalised = backend.normalizer.normalize_str("É") if backend.normalizer else "É"
    case = "lower-cased" if normalised == normalised.lower() else "cased"
    accents = "accents taken off" if normalised.lower() == "e" else "accents kept"
    special = {s: backend.id_to_token(i) for i, s in ours.symbols.items() if s in FAIRSEQ_SPECIAL}
    others = [name for name in ours.markers if name not in special.values()]
    shown = ", ".join(map(repr, others[:8])) + (", ..." if len(others) > 8 else "")
    between = "one separator" if not ours.separators else "two separators"
    end = {"left": "; a long text loses its beginning"}.get(tokenizer.truncation_side, "")
    return [
        f"tokenizer {type(tokenizer).__name__} ({type(backend.model).__name__}): {case}, "
        f"{accents}; {between} between the texts of a pair{end}",
        "special symbols: " + ", ".join(f"{special[s]} is {s}" for s in FAIRSEQ_SPECIAL),
        f"added tokens: {len(others)}{': ' if others else ''}{shown}",
    ]
