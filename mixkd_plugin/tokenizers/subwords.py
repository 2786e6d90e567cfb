"""Builds the tokenizer of --tokenizer KIND:PATH."""

import os
import re
from typing import Any, Dict, List

import tokenizers
from sentencepiece import SentencePieceProcessor

from ..errors import prefixed
from .hf_tokenizer import read_folder_tokenizer
from .library import (
    BERT_SPECIAL,
    COMPLETE_CLASSES,
    FAIRSEQ_SPECIAL,
    IMPORT_AGAIN,
    PADDING,
    Tokenizer,
    content,
    existing,
    of_library,
    read_imported,
    read_json_if_there,
    refuse_padding,
)
from .specs import parse_spec

BERT_CLASSES = ("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer")
BERT_CLASSES += ("DistilBertTokenizerFast",)
BERT_SETTINGS = {  # of tokenizer_config.json: their names in `tokenizers`, and defaults
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}


def build_tokenizer(spec: str) -> Tokenizer:
    """A tokenizer for KIND:PATH.

    A folder that `mixkd import` wrote, or whose tokenizer.json is complete, is read as `hf` for
    every kind.

    Raises:
        ValueError: for a kind that is not in TOKENIZERS, or a missing or broken file.
    """
    kind, path = parse_spec(spec)
    folder = (os.path.dirname(path) or ".") if kind == "sentencepiece" else path
    # each library raises another class, one Exception itself
    with prefixed(f"--tokenizer {spec}", Exception):
        settings = read_json_if_there(os.path.join(folder, "tokenizer_config.json"))
        complete = os.path.isfile(os.path.join(folder, "tokenizer.json"))
        complete = complete and settings.get("tokenizer_class") in COMPLETE_CLASSES
        if complete and os.path.isfile(os.path.join(folder, "dict.txt")):
            tokenizer = read_imported(folder, settings)
        elif complete or kind == "hf":
            tokenizer = read_folder_tokenizer(folder)
        else:
            build = {"wordpiece": _wordpiece, "gpt2": _gpt2, "sentencepiece": _sentencepiece}
            tokenizer = build[kind](path, settings)
            _check_declared(folder, settings, tokenizer.markers)
    side = settings.get("truncation_side", "right")
    return tokenizer._replace(dictionary=os.path.join(folder, "dict.txt"), truncation_side=side)


def _wordpiece(folder: str, settings: Dict[str, Any]) -> Tokenizer:
    """BERT's pieces.

    In a folder of transformers' BERT, tokenizer_config.json has the settings of case, accents and
    Chinese; missing ones have transformers' defaults.
    """
    declared = settings.get("tokenizer_class")
    if declared is not None and declared not in BERT_CLASSES:
        raise ValueError(f"tokenizer_class must be BERT's, got {declared}: {IMPORT_AGAIN}")
    chosen = {name: settings.get(key, usual) for key, (name, usual) in BERT_SETTINGS.items()}
    path = os.path.join(folder, "tokenizer.json")
    if os.path.exists(path):
        library = tokenizers.Tokenizer.from_file(path)
        if type(library.model).__name__ != "WordPiece":
            raise ValueError(f"{path} must be a WordPiece tokenizer: {IMPORT_AGAIN}")
        of_transformers = settings or os.path.exists(os.path.join(folder, "config.json"))
        if of_transformers and type(library.normalizer).__name__ == "BertNormalizer":
            library.normalizer = tokenizers.normalizers.BertNormalizer(**chosen)
    else:
        vocabulary = existing(folder, "vocab.txt")
        library = tokenizers.BertWordPieceTokenizer(vocabulary, **chosen)._tokenizer
    library.decoder = library.decoder or tokenizers.decoders.WordPiece()
    special = {  # BERT's names or fairseq's, as in the vocabulary
        ours if library.token_to_id(theirs) is None else theirs: ours
        for theirs, ours in zip(BERT_SPECIAL, FAIRSEQ_SPECIAL)
    }
    return of_library(library, special, 0)


def _gpt2(folder: str, settings: Dict[str, Any]) -> Tokenizer:
    """fairseq's `--bpe gpt2`, with its special symbols."""
    files = existing(folder, "encoder.json"), existing(folder, "vocab.bpe")
    numbers, merges = tokenizers.models.BPE.read_file(*files)
    library = tokenizers.Tokenizer(tokenizers.models.BPE(numbers, merges))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    library.add_special_tokens(
        [  # RoBERTa's <mask> takes the blank before it, in fairseq's fill_mask too
            tokenizers.AddedToken(name, lstrip=name == "<mask>", normalized=False)
            for name in FAIRSEQ_SPECIAL
        ]
    )
    return of_library(library, dict(zip(FAIRSEQ_SPECIAL, FAIRSEQ_SPECIAL)), 1, numbers)


def _sentencepiece(path: str, settings: Dict[str, Any]) -> Tokenizer:
    """fairseq's `--bpe sentencepiece`, with its special symbols."""
    processor = SentencePieceProcessor(model_file=existing(path))
    special = re.compile(f"({'|'.join(FAIRSEQ_SPECIAL)})")
    threads = int(os.environ.get("RAYON_NUM_THREADS") or -1)  # as for `tokenizers`; -1: all CPUs

    def encode_batch(texts: List[str]) -> List[List[str]]:
        rows = [special.split(text) for text in texts]  # at odd positions the special symbols
        for text, row in zip(texts, rows):
            if PADDING in row[1::2]:
                refuse_padding(text, PADDING)
        parts = [part for row in rows for part in row[::2]]
        pieces = processor.encode(parts, out_type=str, num_threads=threads)
        # as fairseq reads pieces in a line: a control character may be white space
        cut = (" ".join(some).split() for some in pieces)
        return [
            [s for i, part in enumerate(row) for s in ([part] if i % 2 else next(cut))]
            for row in rows
        ]

    def decode(pieces: List[str]) -> str:
        return "".join(pieces).replace("▁", " ").strip()

    markers = [name for name in FAIRSEQ_SPECIAL if name != PADDING]
    return Tokenizer(encode_batch, decode, "", 1, markers, None, {})


def _check_declared(folder: str, settings: Dict[str, Any], markers: List[str]) -> None:
    """Raise ValueError if the tokenizer lacks tokens that transformers' JSON files declare."""
    declared = set(read_json_if_there(os.path.join(folder, "added_tokens.json")))
    for part in (settings, read_json_if_there(os.path.join(folder, "special_tokens_map.json"))):
        declared.update(map(content, part.get("added_tokens_decoder", {}).values()))
        for key in ("additional_special_tokens", "extra_special_tokens"):
            listed = part.get(key) or []
            declared.update(map(content, listed.values() if isinstance(listed, dict) else listed))
        declared.update(content(v) for k, v in part.items() if k.endswith("_token"))
    named = {token for token in declared if isinstance(token, str)}
    extra = sorted(named - {*markers, "[PAD]", PADDING})
    if extra:
        raise ValueError(f"the tokenizer must have all tokens, lacks {extra[:5]}: {IMPORT_AGAIN}")
