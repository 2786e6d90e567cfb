"""The tokenizer of a fairseq student as one of the `tokenizers` library, with the same indices.

fairseq cuts a text into pieces and looks each up in dict.txt; a `tokenizers` model has one
vocabulary, whose indices are dict.txt's here. A piece that dict.txt lacks is <unk> to fairseq, but
must be known here for texts to be cut in the same places: it gets an index of its own after the
last, and the embedding table a copy of <unk>'s row for it (:attr:`Exported.more`).
"""

import base64
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from fairseq.data import Dictionary

from .hf_vocabulary import BERT_SPECIAL, GPT2_END_OF_TEXT
from .interop import library
from .subwords import FAIRSEQ_SPECIAL, load_wordpiece, parse_spec

ROLES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


class Exported(NamedTuple):
    tokenizer: Any  # tokenizers.Tokenizer
    more: int  # pieces that the dictionary lacks


def export_tokenizer(
    spec: str, dictionary: Dictionary, init: Optional[str], separator: Optional[str]
) -> Exported:
    """The tokenizer of ``encode --tokenizer SPEC``.

    Args:
        dictionary: of the student
        spec: of a tokenizer that can be built
        init, separator: symbols before all texts and, besides the </s> that ends each text,
            between two; None: there is none

    Raises:
        ValueError: for a tokenizer that `tokenizers` cannot follow.
    """
    kind, path = parse_spec(spec)
    make = {"wordpiece": _wordpiece, "gpt2": _byte_pairs, "sentencepiece": _unigram}[kind]
    description = make(path, dictionary)
    known, added = description.pop("known"), description.pop("added_tokens", [])
    special = [
        {
            "id": dictionary.index(name), "content": name, "special": True, "normalized": False,
            "single_word": False, "lstrip": False, "rstrip": False,
        }
        for name in FAIRSEQ_SPECIAL
    ]  # fmt: skip
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted([*special, *added], key=lambda token: token["id"]),
        "post_processor": _template(dictionary, init, separator),
        **description,
    }
    try:
        tokenizer = library("tokenizers").Tokenizer.from_str(json.dumps(description))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"--tokenizer {spec}: cannot be exported: {error}") from error
    for token in description["added_tokens"]:
        if tokenizer.token_to_id(token["content"]) != token["id"]:
            raise ValueError(f"--tokenizer {spec}: {token['content']} would get another index")
    return Exported(tokenizer, max(0, known - len(dictionary)))


def write_tokenizer(exported: Exported, folder: str, longest: int) -> None:
    """The files that AutoTokenizer reads; `tokenizers` alone needs only tokenizer.json."""
    exported.tokenizer.save(os.path.join(folder, "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **ROLES,
    }
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(settings, f, indent=2)


class _Numbering:
    """Indices of pieces: the dictionary's, and new ones for those it lacks."""

    def __init__(self, dictionary: Dictionary):
        self._dictionary = dictionary

        self._new: Dict[str, int] = {}

    def of(self, symbol: str) -> int:
        index = self._dictionary.indices.get(symbol)
        return self._new.setdefault(symbol, self.known) if index is None else index

    @property
    def known(self) -> int:
        return len(self._dictionary) + len(self._new)


def _template(dictionary: Dictionary, init: Optional[str], separator: Optional[str]) -> dict:
    """How fairseq's sentence_prediction lays out one text or two."""

    def special(symbol: str) -> dict:
        return {"SpecialToken": {"id": symbol, "type_id": 0}}

    def text(name: str) -> List[dict]:
        return [{"Sequence": {"id": name, "type_id": 0}}, special("</s>")]

    before = [special(init)] if init is not None else []
    between = [special(separator)] if separator is not None else []
    used = {symbol for symbol in ("</s>", init, separator) if symbol is not None}
    return {
        "type": "TemplateProcessing",
        "single": [*before, *text("A")],
        "pair": [*before, *text("A"), *between, *text("B")],
        "special_tokens": {
            s: {"id": s, "ids": [dictionary.index(s)], "tokens": [s]} for s in sorted(used)
        },
    }


def _wordpiece(folder: str, dictionary: Dictionary) -> Dict[str, Any]:
    number = _Numbering(dictionary)
    description = json.loads(load_wordpiece(folder).to_str())
    renamed = dict(zip(BERT_SPECIAL, FAIRSEQ_SPECIAL))
    added = [t for t in description["added_tokens"] if not t["special"]]
    pieces = sorted(description["model"]["vocab"], key=description["model"]["vocab"].get)
    names = dict.fromkeys([*(renamed.get(p, p) for p in pieces), *(t["content"] for t in added)])
    description["model"]["vocab"] = {name: number.of(name) for name in names}
    description["model"]["unk_token"] = "<unk>"
    kept = ("normalizer", "pre_tokenizer", "decoder", "model")
    return {
        **{key: description[key] for key in kept},
        "added_tokens": [{**t, "id": number.of(t["content"])} for t in added],
        "known": number.known,
    }


def _byte_pairs(folder: str, dictionary: Dictionary) -> Dict[str, Any]:
    number = _Numbering(dictionary)
    with open(os.path.join(folder, "encoder.json"), encoding="utf-8") as f:
        encoder = json.load(f)
    with open(os.path.join(folder, "vocab.bpe"), encoding="utf-8") as f:
        merges = f.read().split("\n")[1:-1]  # as fairseq reads it
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    left_out = (GPT2_END_OF_TEXT, *FAIRSEQ_SPECIAL)  # no text is cut into these
    vocabulary = {t: number.of(str(i)) for t, i in encoder.items() if t not in left_out}
    # else the library would number them anew, after the others
    vocabulary.update({symbol: dictionary.index(symbol) for symbol in FAIRSEQ_SPECIAL})
    return {
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "decoder": {**byte_level, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges, "unk_token": None},
        "known": number.known,
    }


def _unigram(path: str, dictionary: Dictionary) -> Dict[str, Any]:
    proto = library("sentencepiece.sentencepiece_model_pb2").ModelProto()
    with open(path, "rb") as f:
        proto.ParseFromString(f.read())
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise ValueError(f"{path}: only a unigram model can be exported")
    normal = proto.normalizer_spec
    for name, usual in {
        "add_dummy_prefix": normal.add_dummy_prefix,
        "remove_extra_whitespaces": normal.remove_extra_whitespaces,
        "escape_whitespaces": normal.escape_whitespaces,
        "not treat_whitespace_as_suffix": not proto.trainer_spec.treat_whitespace_as_suffix,
    }.items():
        if not usual:
            raise ValueError(f"{path}: only a model made to {name} can be exported")
    kinds = proto.SentencePiece
    usable = (kinds.NORMAL, kinds.USER_DEFINED, kinds.BYTE)
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type in usable}
    # What sentencepiece does not know must never be a way to cut a text: its name gets a blank, and
    # blanks in a text become another character. The lowest score is what <unk>'s is made of.
    never = min(scores.values())
    missing = [piece for piece in scores if piece not in dictionary.indices]
    symbols: Sequence[str] = [*dictionary.symbols, *missing]
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    normalizers: List[dict] = [
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]
    if charsmap:
        normalizers.insert(0, {"type": "Precompiled", "precompiled_charsmap": charsmap})
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    return {
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": space,
        "decoder": space,
        "model": {
            "type": "Unigram",
            "unk_id": dictionary.unk(),
            "vocab": [
                [symbol, scores[symbol]]
                if symbol in scores
                else [symbol if symbol in FAIRSEQ_SPECIAL else f"{symbol} ", never]
                for symbol in symbols
            ],
            "byte_fallback": bool(proto.trainer_spec.byte_fallback),
        },
        "known": len(symbols),
    }
