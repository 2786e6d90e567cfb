"""The tokenizer interface of encode and export, and tokenizers of the library `tokenizers`.

A symbol is the tokenizer's token, with three exceptions: fairseq's special symbols (<s>, </s>, ...)
replace the model's ([CLS], [SEP], ...), byte-level BPE has GPT-2's numbers, as in fairseq's public
RoBERTa, and a token that a dict.txt cannot store is escaped. A special symbol that is written in a
text becomes the model's special symbol, as in transformers.
"""

import json
import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional
from urllib.parse import quote

from ..errors import prefixed

FAIRSEQ_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # in every dictionary of our task
# Names for these, in the same order: BERT's, and the keys of a tokenizer_config.json.
BERT_SPECIAL = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
ROLES = ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token")
OPTIONAL_ROLES = ("unk_token", "mask_token")
PADDING, MASK = "<pad>", "<mask>"
ESCAPE = "escaped:"  # before a token in percent-encoding

# Classes that only read tokenizer.json; other classes build their tokenizer again.
COMPLETE_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
SENTENCEPIECE_FILE = "sentencepiece.bpe.model"  # as Hugging Face and our imports name it
IMPORT_AGAIN = "name it with hf:, or import it with `mixkd import`"

Numbers = Optional[Mapping[str, int]]  # GPT-2's, of the tokens of byte-level BPE
EncodeBatch, Decode = Callable[[List[str]], List[List[str]]], Callable[[List[str]], str]


class Tokenizer(NamedTuple):
    """
    encode_batch: symbols of each text, computed by the library's threads
    decode: a text with the same pieces; WordPiece's lack case and blanks at punctuation
    dictionary: default path of the model's dict.txt
    separators: number of </s> between the texts of a pair, besides the one that ends each text
    markers: tokens that are split off first, with special ones, without <pad>
    library, symbols: the `tokenizers` tokenizer and the symbols by its indices; None and {} for
        sentencepiece
    truncation_side: the end of a long text that is cut off, right or left
    numbers: GPT-2's, of the tokens of byte-level BPE
    words: the model's dictionary, fairseq's, of a Hugging Face folder; None: it is in a file
    """

    encode_batch: EncodeBatch
    decode: Decode
    dictionary: str
    separators: int
    markers: List[str]
    library: Any
    symbols: Dict[int, str]
    truncation_side: str = "right"
    numbers: Numbers = None
    words: Any = None

    def encode(self, text: str) -> List[str]:
        return self.encode_batch([text])[0]

    def added(self, texts: int) -> int:
        """Special tokens of an example of so many texts: <s>, and </s> after and between them."""
        return 1 + texts + (texts - 1) * self.separators


def symbol_of(token: str, numbers: Numbers = None) -> str:
    """A token's symbol in a dict.txt; no other token has the same.

    Args:
        numbers: of the tokens of byte-level BPE
    """
    if numbers is not None and token in numbers:
        return str(numbers[token])
    unusable = not token or token in FAIRSEQ_SPECIAL or any(map(str.isspace, token))
    if unusable or token.startswith(ESCAPE) or (numbers is not None and token.isdigit()):
        return ESCAPE + quote(token, safe="")
    return token


def read_json_if_there(path: str) -> Dict[str, Any]:
    """The object in a JSON file; an empty one without the file.

    Raises:
        ValueError: with the file's name, if it is not an object.
    """
    if not os.path.isfile(path):
        return {}
    not_json = prefixed(f"{os.path.basename(path)} is not JSON", (ValueError, RecursionError))
    with not_json, open(path, encoding="utf-8") as f:
        content = json.load(f)
    if not isinstance(content, dict):
        raise ValueError(f"{os.path.basename(path)} must be an object, got {content!r:.50}")
    return content


def existing(*parts: str) -> str:
    path = os.path.join(*parts)
    if not os.path.isfile(path):
        raise ValueError(f"{path} must be a file: for a Hugging Face folder, {IMPORT_AGAIN}")
    return path


def of_library(
    library: Any, special: Mapping[str, str], separators: int, numbers: Numbers = None
) -> Tokenizer:
    """Our interface to a tokenizer of `tokenizers`.

    Args:
        special: fairseq's special symbols by the tokenizer's tokens
        numbers: as for :func:`symbol_of`
    """
    library.no_truncation()  # these may be left from the model's last use
    library.no_padding()
    tokens = library.get_vocab(with_added_tokens=True)
    symbols = {i: special.get(token) or symbol_of(token, numbers) for token, i in tokens.items()}
    indices = {symbol: i for i, symbol in symbols.items()}
    padding = indices.get(PADDING)

    def encode_batch(texts: List[str]) -> List[List[str]]:
        rows = [found.ids for found in library.encode_batch_fast(texts, add_special_tokens=False)]
        for text, row in zip(texts, rows):
            if padding in row:
                refuse_padding(text, library.id_to_token(padding))
        return [[symbols[i] for i in row] for row in rows]

    def decode(pieces: List[str]) -> str:
        known = [indices[piece] for piece in pieces if piece in indices]
        return library.decode(known, skip_special_tokens=False)

    markers = library.get_added_tokens_decoder()
    names = [markers[i].content for i in sorted(markers) if i != padding]
    return Tokenizer(encode_batch, decode, "", separators, names, library, symbols, numbers=numbers)


def refuse_padding(text: str, name: str) -> None:
    around = text[max(0, text.find(name) - 40) :][:60]
    raise ValueError(
        f"the text {around!r} spells the padding symbol {name}, which fairseq cannot have "
        "inside a text: remove it"
    )


def read_imported(folder: str, settings: Dict[str, Any]) -> Tokenizer:
    """The tokenizer that `mixkd import` or `mixkd encode` wrote to tokenizer.json.

    Args:
        settings: of its tokenizer_config.json

    Raises:
        ValueError: as :func:`with_layout`.
    """
    import tokenizers

    library = tokenizers.Tokenizer.from_file(existing(folder, "tokenizer.json"))
    names = {role: content(settings.get(role)) for role in ROLES}
    encoder = read_json_if_there(os.path.join(folder, "encoder.json"))
    return with_layout(library, names, encoder or None)


def with_layout(library: Any, names: Mapping[str, Any], numbers: Numbers) -> Tokenizer:
    """Our interface to a tokenizer of `tokenizers` that also lays out texts and pairs.

    Args:
        names: its special tokens by ROLES
        numbers: as for :func:`symbol_of`

    Raises:
        ValueError: if a special token is missing or has two roles, or for another layout than
            BERT's or RoBERTa's. A byte-level tokenizer needs no unk_token, a classifier no mask.
    """
    separators = separators_of(library)
    special: Dict[str, str] = {}
    for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL):
        name = names.get(role)
        if name is None or library.token_to_id(name) is None:
            if role not in OPTIONAL_ROLES:
                raise ValueError(f"{role} must be a token of the tokenizer, got {name!r}")
        elif special.setdefault(name, symbol) != symbol:
            raise ValueError(f"{role} must be a token of its own, got {name!r} for two roles")
    return of_library(library, special, separators, numbers)


def content(token: Any) -> Any:
    """The text of a token in transformers' JSON files: a text, or an object with settings."""
    return token.get("content") if isinstance(token, dict) else token


def separators_of(library: Any) -> int:
    """Number of </s> between the texts of its pairs, besides the one that ends each text.

    Raises:
        ValueError: unless the layout is <s> A </s>, and <s> A </s> B </s>, as BERT, or
            <s> A </s> </s> B </s>, as RoBERTa.
    """
    text = library.encode("a", add_special_tokens=False).ids
    single, pair = library.encode("a").ids, library.encode("a", "a").ids
    start, end = single[:1], single[-1:]
    for separators in (0, 1):
        between = [*end, *end * separators]
        if single == [*start, *text, *end] and pair == [*start, *text, *between, *text, *end]:
            return separators
    found = (" ".join(map(library.id_to_token, ids)) for ids in (single, pair))
    raise ValueError(
        "the tokenizer must have the layout <s> A </s> and <s> A </s> B </s> (BERT) or "
        "<s> A </s> </s> B </s> (RoBERTa), got {!r} of 'a' and {!r} of a pair".format(*found)
    )
