"""The vocabulary of a Hugging Face folder, and the tokenizer files that encode.py needs of it."""

import json
import os
import shutil
from typing import Any, Dict, List, NamedTuple, Tuple

from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

from .subwords import FAIRSEQ_SPECIAL, SENTENCEPIECE_FILE

# BERT's names for fairseq's, in the same order.
BERT_SPECIAL = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")

WORDPIECE_FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
SENTENCEPIECE_NAMES = (SENTENCEPIECE_FILE, "spiece.model", "tokenizer.model")
GPT2_FILES = ("encoder.json", "vocab.bpe")  # as fairseq's --bpe gpt2 wants them
GPT2_END_OF_TEXT = "<|endoftext|>"
FILES = ("dict.txt", *WORDPIECE_FILES, SENTENCEPIECE_FILE, *GPT2_FILES)  # all we may write


_BOTH = {*FAIRSEQ_SPECIAL, *BERT_SPECIAL}


class Vocabulary(NamedTuple):
    """Symbols by the source's index, special ones under fairseq's names, and a tokenizer.

    copies: file names and where they are copied from; texts: file names and what is in them
    """

    kind: str  # as in `encode --tokenizer KIND:...`
    symbols: List[str]
    copies: Dict[str, str] = {}
    texts: Dict[str, str] = {}

    def write(self, folder: str) -> None:
        for name, source in self.copies.items():
            shutil.copyfile(source, os.path.join(folder, name))
        for name, text in self.texts.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as f:
                f.write(text)


def read_vocabulary(folder: str, model_type: str) -> Vocabulary:
    """What kind of tokenizer ``folder`` holds, and its symbols.

    Raises:
        ValueError: where there is none, or one that fairseq cannot be made to follow.
    """

    def path(name: str) -> str:
        return os.path.join(folder, name)

    def there(name: str) -> bool:
        return os.path.isfile(path(name))

    fast = read_json(path("tokenizer.json")) if there("tokenizer.json") else {}
    kind = fast.get("model", {}).get("type")
    pieces = next((path(name) for name in SENTENCEPIECE_NAMES if there(name)), None)
    added = [t["content"] for t in fast.get("added_tokens", ()) if not t.get("special")]
    if there("added_tokens.json"):
        added += [name for name in read_json(path("added_tokens.json")) if name not in _BOTH]
    if added and kind != "WordPiece":
        raise ValueError(
            f"tokens were added to the tokenizer ({', '.join(added[:5])}), and fairseq's cannot be "
            "made to cut a text at them"
        )
    if pieces is not None:
        listed = _listed(fast) if kind == "Unigram" else _sentencepiece_ids(pieces, model_type)
        symbols = _special(_by_index(listed), FAIRSEQ_SPECIAL)
        return Vocabulary("sentencepiece", symbols, copies={SENTENCEPIECE_FILE: pieces})
    if kind == "Unigram":
        raise ValueError(
            f"tokenizer.json alone does not serve fairseq's sentencepiece: {SENTENCEPIECE_FILE} is "
            "needed beside it, as the pre-trained model has it"
        )
    if there("vocab.txt") and kind != "WordPiece":  # else tokenizer.json is what texts are cut by
        with open(path("vocab.txt"), encoding="utf-8", newline="\n") as f:
            words = [line.rstrip("\r\n") for line in f]
        return _wordpiece(folder, words)
    if kind == "WordPiece":
        return _wordpiece(folder, _by_index(_listed(fast)))
    if kind == "BPE" or there("vocab.json"):
        return _byte_pairs(folder, fast)
    if kind is not None:
        raise ValueError(f"the tokenizer's type is {kind!r}; allowed: WordPiece, BPE, Unigram")
    raise ValueError(
        "no vocabulary: vocab.txt or tokenizer.json (WordPiece), vocab.json and merges.txt or "
        f"tokenizer.json (byte-level BPE) or {SENTENCEPIECE_FILE} is needed"
    )


def read_json(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as f:
            content = json.load(f)
    except ValueError as error:
        raise ValueError(f"{os.path.basename(path)} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{os.path.basename(path)} holds a {type(content).__name__}, not an object"
        )
    return content


def _listed(fast: Dict[str, Any]) -> List[Tuple[str, int]]:
    """(symbol, index) of a tokenizer.json, added symbols too."""
    vocabulary = fast["model"]["vocab"]
    if isinstance(vocabulary, dict):
        listed = list(vocabulary.items())
    else:  # Unigram: [symbol, score] in the order of the indices
        listed = [(entry[0], index) for index, entry in enumerate(vocabulary)]
    known = set(listed)
    added = ((token["content"], token["id"]) for token in fast.get("added_tokens", ()))
    return listed + [pair for pair in added if pair not in known]


def _by_index(listed: List[Tuple[str, int]]) -> List[str]:
    """The symbols by index; indices without one get a name that no text contains."""
    symbols = {index: symbol for symbol, index in listed}
    if len(symbols) < len(listed):
        raise ValueError("the vocabulary gives one index to two symbols")
    return [symbols.get(i, f"madeupword{i:04d}") for i in range(max(symbols, default=-1) + 1)]


def _special(symbols: List[str], names: Tuple[str, ...]) -> List[str]:
    """The symbols with fairseq's names for the special ones."""
    missing = [name for name in names if name not in symbols]
    if missing:
        raise ValueError(f"the vocabulary lacks {' '.join(missing)}")
    if names != FAIRSEQ_SPECIAL and not set(FAIRSEQ_SPECIAL).isdisjoint(symbols):
        raise ValueError(f"the vocabulary has one of fairseq's own: {' '.join(FAIRSEQ_SPECIAL)}")
    renamed = dict(zip(names, FAIRSEQ_SPECIAL))
    return [renamed.get(symbol, symbol) for symbol in symbols]


def _wordpiece(folder: str, words: List[str]) -> Vocabulary:
    found = {name: os.path.join(folder, name) for name in WORDPIECE_FILES}
    copies = {name: path for name, path in found.items() if os.path.isfile(path)}
    return Vocabulary("wordpiece", _special(words, BERT_SPECIAL), copies)


def _byte_pairs(folder: str, fast: Dict[str, Any]) -> Vocabulary:
    """Byte-level BPE. The symbols of fairseq's dictionary are GPT-2's indices, written as numbers.

    GPT-2 numbers the bytes first and then what each merge makes, and so the merges alone tell the
    numbers: for RoBERTa's the dictionary is the one that fairseq's own releases have.
    """
    settings = os.path.join(folder, "tokenizer_config.json")
    _check_byte_level(fast, read_json(settings) if os.path.isfile(settings) else {})
    if fast:
        listed = _listed(fast)
        merges = [m if isinstance(m, str) else " ".join(m) for m in fast["model"]["merges"]]
    else:
        listed = list(read_json(os.path.join(folder, "vocab.json")).items())
        path = os.path.join(folder, "merges.txt")
        if not os.path.isfile(path):
            raise ValueError("vocab.json needs merges.txt beside it")
        with open(path, encoding="utf-8") as f:
            lines = f.read().split("\n")
        merges = [line for line in lines if line and not line.startswith("#version")]
    made = [*bytes_to_unicode().values(), *("".join(m.split(" ")) for m in merges)]
    numbers = {token: i for i, token in enumerate([*dict.fromkeys(made), GPT2_END_OF_TEXT])}
    symbols = _special(_by_index(listed), FAIRSEQ_SPECIAL)
    symbols = [str(numbers.get(symbol, symbol)) for symbol in symbols]
    texts = {
        "encoder.json": json.dumps(numbers),
        "vocab.bpe": "\n".join(["#version: 0.2", *merges, ""]),
    }
    return Vocabulary("gpt2", symbols, texts=texts)


def _check_byte_level(fast: Dict[str, Any], settings: Dict[str, Any]) -> None:
    """fairseq's GPT-2 BPE takes a text as it is; what another tokenizer does first is refused."""
    before = fast.get("pre_tokenizer") or {"type": "ByteLevel"}
    spaced = before.get("add_prefix_space", False) or settings.get("add_prefix_space", False)
    reasons = {
        "a normalizer": fast.get("normalizer") is not None,
        f"the pre-tokenizer {before['type']}": before["type"] != "ByteLevel",
        "a pattern other than GPT-2's": not before.get("use_regex", True),
        "add_prefix_space": bool(spaced),
    }
    found = [reason for reason, applies in reasons.items() if applies]
    if found:
        raise ValueError(f"the tokenizer has {', '.join(found)}, and fairseq's GPT-2 BPE has not")


def _sentencepiece_ids(path: str, model_type: str) -> List[Tuple[str, int]]:
    """As transformers' slow tokenizers number the pieces, where no tokenizer.json tells."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=path)
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    if model_type == "camembert":
        leading = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", *pieces[1:3]]
    else:
        leading = ["<s>", "<pad>", "</s>", "<unk>"]
    return [(s, i) for i, s in enumerate([*leading, *pieces[3:], "<mask>"])]
