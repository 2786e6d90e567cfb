"""The tokenizer of a fairseq student as one of the `tokenizers` library, with the same indices.

fairseq cuts a text into pieces and looks each up in dict.txt; a `tokenizers` model has one
vocabulary, whose indices are dict.txt's here. A piece that dict.txt lacks is <unk> to fairseq, but
must be known here for texts to be cut in the same places: it gets an index of its own after the
last, and the embedding table a copy of <unk>'s row for it (:attr:`Exported.rows`). So does, with a
copy of its own row, an added token that a model would find where the token is not (`single_word`).
"""

import base64
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from fairseq.data import Dictionary

from ..interop import library
from ..tokenizers.hf_tokenizer import write_settings
from ..tokenizers.library import FAIRSEQ_SPECIAL, ROLES, Tokenizer
from ..tokenizers.subwords import parse_spec


class Exported(NamedTuple):
    tokenizer: Any  # tokenizers.Tokenizer
    rows: List[int]  # of the dictionary: what the indices after its last stand for
    special: Dict[str, str]  # the tokenizer's names of fairseq's special symbols
    side: str  # of truncation


def export_tokenizer(
    spec: str,
    trained: Tokenizer,
    dictionary: Dictionary,
    init: Optional[str],
    separator: Optional[str],
) -> Exported:
    """The tokenizer that a student was trained with, under its dictionary's indices.

    Args:
        spec, trained: of `encode --tokenizer SPEC`
        dictionary: of the student
        init, separator: symbols before all texts and, besides the </s> that ends each text,
            between two; None: there is none

    Raises:
        ValueError: for a tokenizer that `tokenizers` cannot follow.
    """
    number = _Numbering(dictionary)
    special = {symbol: symbol for symbol in FAIRSEQ_SPECIAL}
    if trained.library is None:
        description = _unigram(parse_spec(spec)[1], dictionary)
    else:
        tokens = trained.library.get_vocab(with_added_tokens=True)
        named = ((trained.symbols[i], token) for token, i in tokens.items())
        special.update((symbol, token) for symbol, token in named if symbol in special)
        description = _renumbered(trained, number)
    known, added = description.pop("known", number.known), description.pop("added_tokens", [])
    rows = [dictionary.unk()] * (known - len(dictionary)) + description.pop("apart", [])
    listed = {token["content"] for token in added}
    added += [
        {
            "id": dictionary.index(symbol), "content": name, "special": True, "normalized": False,
            "single_word": False, "lstrip": False, "rstrip": False,
        }
        for symbol, name in special.items() if name not in listed
    ]  # fmt: skip
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "post_processor": _template(dictionary, special, init, separator),
        **description,
    }
    try:
        tokenizer = library("tokenizers").Tokenizer.from_str(json.dumps(description))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"--tokenizer {spec}: cannot be exported: {error}") from error
    for token in description["added_tokens"]:
        if tokenizer.token_to_id(token["content"]) != token["id"]:
            raise ValueError(f"--tokenizer {spec}: {token['content']} would get another index")
    return Exported(tokenizer, rows, special, trained.truncation_side)


def write_tokenizer(exported: Exported, folder: str, longest: int) -> None:
    """The files that AutoTokenizer reads; `tokenizers` alone needs only tokenizer.json."""
    exported.tokenizer.save(os.path.join(folder, "tokenizer.json"))
    names = {role: exported.special[symbol] for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL)}
    write_settings(names, folder, longest, exported.side)


class _Numbering:
    """Indices of pieces: the dictionary's, and new ones for those it lacks."""

    def __init__(self, dictionary: Dictionary):
        self.dictionary = dictionary
        self._new: Dict[str, int] = {}

    def of(self, symbol: str) -> int:
        index = self.dictionary.indices.get(symbol)
        return self._new.setdefault(symbol, self.known) if index is None else index

    @property
    def known(self) -> int:
        return len(self.dictionary) + len(self._new)


def _template(
    dictionary: Dictionary, names: Dict[str, str], init: Optional[str], separator: Optional[str]
) -> dict:
    """How fairseq's sentence_prediction lays out one text or two; ``names``: of its symbols."""

    def special(symbol: str) -> dict:
        return {"SpecialToken": {"id": names.get(symbol, symbol), "type_id": 0}}

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
            name: {"id": name, "ids": [index], "tokens": [name]}
            for name, index in sorted((names.get(s, s), dictionary.index(s)) for s in used)
        },
    }


def _renumbered(trained: Tokenizer, number: _Numbering) -> Dict[str, Any]:
    """A tokenizer's description, its indices exchanged for those of its symbols."""
    description = json.loads(trained.library.to_str())
    tokens = trained.library.get_vocab(with_added_tokens=True)
    symbols = {token: trained.symbols[index] for token, index in tokens.items()}
    pieces, added = trained.library.get_vocab(with_added_tokens=False), description["added_tokens"]
    # Added tokens are among the model's, too: else the library would number them anew, after the
    # others. These are: the model would find them inside words, or in what only becomes them.
    apart = [
        t["content"] for t in added
        if (t["single_word"] or not t["normalized"])
        and t["content"] not in pieces and symbols[t["content"]] not in FAIRSEQ_SPECIAL
    ]  # fmt: skip
    ordered = sorted({*tokens} - {*apart}, key=tokens.__getitem__)
    indices = {token: number.of(symbols[token]) for token in ordered}
    names = {number.of(symbol): symbol for symbol in FAIRSEQ_SPECIAL}
    names.update({index: token for token, index in indices.items()})
    rows = [names.get(i, f"{i} ") for i in range(number.known)]  # no text has a blank there
    model = description["model"]
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        never = min(scores.values())
        model["vocab"] = [[name, scores.get(name, never)] for name in rows]
        model["unk_id"] = indices[trained.library.id_to_token(model["unk_id"])]
    else:
        model["vocab"] = {name: i for i, name in enumerate(rows)}
    indices.update({token: len(rows) + i for i, token in enumerate(apart)})
    kept = ("normalizer", "pre_tokenizer", "decoder", "model")
    return {
        **{key: description[key] for key in kept},
        "added_tokens": [{**t, "id": indices[t["content"]]} for t in added],
        "apart": [number.dictionary.index(symbols[token]) for token in apart],
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
