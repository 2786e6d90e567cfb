"""The tokenizers that encode.py knows: text in, symbols of a fairseq dictionary out, and back.

A symbol is the tokenizer's own token, but for three kinds: fairseq's special symbols (<s>, </s>,
...) stand for the model's ([CLS], [SEP], ...), byte-level BPE has GPT-2's numbers, as in fairseq's
public RoBERTa, and a token that a dict.txt cannot hold is escaped. A special symbol that a text
spells is the model's special symbol, as in transformers.
"""

import json
import os
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import quote

TOKENIZERS = {
    "hf": "hf:DIR (any model that import_hf imported)",
    "wordpiece": "wordpiece:DIR (BERT: tokenizer.json or vocab.txt)",
    "gpt2": "gpt2:DIR (RoBERTa: encoder.json and vocab.bpe)",
    "sentencepiece": "sentencepiece:FILE or DIR (XLM-R: sentencepiece.bpe.model)",
}
FAIRSEQ_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # in every dictionary of our task
# Names for these, in the same order: BERT's, and the keys of a tokenizer_config.json.
BERT_SPECIAL = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
ROLES = ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token")
PADDING = "<pad>"
ESCAPE = "escaped:"  # before a token in percent-encoding

# Classes whose tokenizer.json decides alone; another class builds its tokenizer anew.
COMPLETE_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
BERT_CLASSES = ("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer")
BERT_CLASSES += ("DistilBertTokenizerFast",)
BERT_SETTINGS = {  # of tokenizer_config.json: what `tokenizers` calls them, and their defaults
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
SENTENCEPIECE_FILE = "sentencepiece.bpe.model"  # as Hugging Face and our imports name it
IMPORT_AGAIN = "import the folder with mixkd_plugin.tools.import_hf, and name OUT_DIR with hf:"

EncodeBatch, Decode = Callable[[List[str]], List[List[str]]], Callable[[List[str]], str]


class Tokenizer(NamedTuple):
    """
    encode_batch: symbols of each text, cut by the library's own threads
    decode: a text with the same pieces; WordPiece's lack case and blanks at punctuation
    dictionary: where the model's dict.txt is expected
    separators: </s> between the texts of a pair, besides the one that ends each text
    markers: tokens that are cut out of a text before anything else, special ones too, but <pad>'s
    library, symbols: the `tokenizers` tokenizer and the symbols by its indices; None and {} where
        sentencepiece cuts
    """

    encode_batch: EncodeBatch
    decode: Decode
    dictionary: str
    separators: int
    markers: List[str]
    library: Any
    symbols: Dict[int, str]

    def encode(self, text: str) -> List[str]:
        return self.encode_batch([text])[0]


def parse_spec(spec: str) -> Tuple[str, str]:
    """Kind and path of KIND:PATH; of a sentencepiece model the file.

    Raises:
        ValueError: for a kind that is not in TOKENIZERS.
    """
    kind, _, path = spec.partition(":")
    if kind not in TOKENIZERS or not path:
        raise ValueError(f"--tokenizer must be {'; '.join(TOKENIZERS.values())}, got {spec!r}")
    if kind == "sentencepiece" and os.path.isdir(path):
        path = os.path.join(path, SENTENCEPIECE_FILE)
    return kind, path


def build_tokenizer(spec: str) -> Tokenizer:
    """A tokenizer for KIND:PATH.

    A folder that import_hf wrote is read as `hf` under every kind.

    Raises:
        ValueError: for a kind that is not in TOKENIZERS, or a missing or broken file.
    """
    kind, path = parse_spec(spec)
    folder = (os.path.dirname(path) or ".") if kind == "sentencepiece" else path
    try:
        settings = read_json_if_there(os.path.join(folder, "tokenizer_config.json"))
        complete = os.path.isfile(os.path.join(folder, "tokenizer.json"))
        if complete and settings.get("tokenizer_class") in COMPLETE_CLASSES:
            kind = "hf"
        if kind == "hf":
            tokenizer = read_imported(folder, settings)
        else:
            build = {"wordpiece": _wordpiece, "gpt2": _gpt2, "sentencepiece": _sentencepiece}
            tokenizer = build[kind](path, settings)
            _check_declared(folder, settings, tokenizer.markers)
    except Exception as error:  # each library raises another kind, one of them just this
        raise ValueError(f"--tokenizer {spec}: {error}") from error
    return tokenizer._replace(dictionary=os.path.join(folder, "dict.txt"))


def symbol_of(token: str, numbers: Optional[Mapping[str, int]] = None) -> str:
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
    """The object in a JSON file; an empty one where there is no file.

    Raises:
        ValueError: naming the file, where it holds something else.
    """
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as f:
            content = json.load(f)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.path.basename(path)} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{os.path.basename(path)} must hold an object, got {content!r:.50}")
    return content


def _existing(*parts: str) -> str:
    path = os.path.join(*parts)
    if not os.path.isfile(path):
        raise ValueError(f"no file {path}")
    return path


def _of_library(
    library: Any,
    special: Mapping[str, str],
    separators: int,
    numbers: Optional[Mapping[str, int]] = None,
) -> Tokenizer:
    """Of a tokenizer of `tokenizers`.

    Args:
        special: fairseq's special symbols by the tokenizer's tokens
        numbers: as for :func:`symbol_of`
    """
    library.no_truncation()  # what the model was last used for may have left these
    library.no_padding()
    tokens = library.get_vocab(with_added_tokens=True)
    symbols = {i: special.get(token) or symbol_of(token, numbers) for token, i in tokens.items()}
    indices = {symbol: i for i, symbol in symbols.items()}
    padding = indices.get(PADDING)

    def encode_batch(texts: List[str]) -> List[List[str]]:
        rows = [found.ids for found in library.encode_batch_fast(texts, add_special_tokens=False)]
        for text, row in zip(texts, rows):
            if padding in row:
                _refuse_padding(text, library.id_to_token(padding))
        return [[symbols[i] for i in row] for row in rows]

    def decode(pieces: List[str]) -> str:
        known = [indices[piece] for piece in pieces if piece in indices]
        return library.decode(known, skip_special_tokens=False)

    markers = library.get_added_tokens_decoder()
    names = [markers[i].content for i in sorted(markers) if i != padding]
    return Tokenizer(encode_batch, decode, "", separators, names, library, symbols)


def _refuse_padding(text: str, name: str) -> None:
    raise ValueError(
        f"the text {text[:60]!r} spells the padding symbol {name}, which fairseq cannot have "
        "inside a text: take it out"
    )


def read_imported(folder: str, settings: Dict[str, Any]) -> Tokenizer:
    """What import_hf wrote: the whole tokenizer is in tokenizer.json.

    Args:
        settings: in its tokenizer_config.json

    Raises:
        ValueError: where it has not the five special symbols, or lays out texts in another way.
    """
    import tokenizers

    if settings.get("tokenizer_class") not in COMPLETE_CLASSES:
        raise ValueError(f"import_hf has not written {folder}: {IMPORT_AGAIN}")
    library = tokenizers.Tokenizer.from_file(_existing(folder, "tokenizer.json"))
    named = [content(settings.get(role)) for role in ROLES]
    indices = {library.token_to_id(name) for name in named if name is not None}
    if len(indices - {None}) < len(ROLES):
        found = ", ".join(f"{role} {name}" for role, name in zip(ROLES, named))
        raise ValueError(f"the tokenizer must have five special symbols of its own, got {found}")
    special = dict(zip(named, FAIRSEQ_SPECIAL))
    encoder = read_json_if_there(os.path.join(folder, "encoder.json"))
    return _of_library(library, special, separators_of(library), encoder or None)


def content(token: Any) -> Any:
    """The text of a token as transformers' JSON files have it: alone, or with its settings."""
    return token.get("content") if isinstance(token, dict) else token


def separators_of(library: Any) -> int:
    """How many </s> its pairs have between the texts, besides the one that ends each text.

    Raises:
        ValueError: where texts are not laid out as <s> A </s>, and <s> A </s> B </s>, as BERT, or
            <s> A </s> </s> B </s>, as RoBERTa.
    """
    text = library.encode("a", add_special_tokens=False).ids
    single, pair = library.encode("a").ids, library.encode("a", "a").ids
    start, end = single[:1], single[-1:]
    for separators in (0, 1):
        between = [*end, *end * separators]
        if single == [*start, *text, *end] and pair == [*start, *text, *between, *text, *end]:
            return separators
    raise ValueError(
        "the tokenizer must lay texts out as BERT or RoBERTa, <s> A </s> and <s> A </s> B </s> or "
        f"<s> A </s> </s> B </s>; its indices of 'a' are {single}, of a pair {pair}"
    )


def _plain_special(library: Any) -> Dict[str, str]:
    """BERT's names or fairseq's own, whichever the vocabulary has."""
    special = {}
    for theirs, ours in zip(BERT_SPECIAL, FAIRSEQ_SPECIAL):
        name = ours if library.token_to_id(theirs) is None else theirs
        special[name] = ours
    return special


def _wordpiece(folder: str, settings: Dict[str, Any]) -> Tokenizer:
    """BERT's pieces.

    Where there is a tokenizer_config.json of BERT's, it decides about case, accents and Chinese, by
    its silence too: so does transformers.
    """
    import tokenizers

    declared = settings.get("tokenizer_class")
    if declared is not None and declared not in BERT_CLASSES:
        raise ValueError(f"the folder's tokenizer_class is {declared}: {IMPORT_AGAIN}")
    chosen = {name: settings.get(key, usual) for key, (name, usual) in BERT_SETTINGS.items()}
    path = os.path.join(folder, "tokenizer.json")
    if os.path.exists(path):
        library = tokenizers.Tokenizer.from_file(path)
        if type(library.model).__name__ != "WordPiece":
            raise ValueError(f"{path} is no WordPiece tokenizer: {IMPORT_AGAIN}")
        if settings and type(library.normalizer).__name__ == "BertNormalizer":
            library.normalizer = tokenizers.normalizers.BertNormalizer(**chosen)
    else:
        vocabulary = _existing(folder, "vocab.txt")
        library = tokenizers.BertWordPieceTokenizer(vocabulary, **chosen)._tokenizer
    library.decoder = library.decoder or tokenizers.decoders.WordPiece()
    return _of_library(library, _plain_special(library), 0)


def _gpt2(folder: str, settings: Dict[str, Any]) -> Tokenizer:
    """fairseq's `--bpe gpt2`, with its special symbols."""
    import tokenizers

    files = _existing(folder, "encoder.json"), _existing(folder, "vocab.bpe")
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
    return _of_library(library, dict(zip(FAIRSEQ_SPECIAL, FAIRSEQ_SPECIAL)), 1, numbers)


def _sentencepiece(path: str, settings: Dict[str, Any]) -> Tokenizer:
    """fairseq's `--bpe sentencepiece`, with its special symbols."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=_existing(path))
    special = re.compile(f"({'|'.join(FAIRSEQ_SPECIAL)})")
    threads = int(os.environ.get("RAYON_NUM_THREADS", -1))  # as for `tokenizers`; -1: all CPUs

    def encode_batch(texts: List[str]) -> List[List[str]]:
        rows = [special.split(text) for text in texts]  # at odd places the special symbols
        for text, row in zip(texts, rows):
            if PADDING in row[1::2]:
                _refuse_padding(text, PADDING)
        parts = [part for row in rows for part in row[::2]]
        cut = iter(processor.encode(parts, out_type=str, num_threads=threads))
        return [
            [s for i, part in enumerate(row) for s in ([part] if i % 2 else _split(next(cut)))]
            for row in rows
        ]

    def decode(pieces: List[str]) -> str:
        return "".join(pieces).replace("▁", " ").strip()

    markers = [name for name in FAIRSEQ_SPECIAL if name != PADDING]
    return Tokenizer(encode_batch, decode, "", 1, markers, None, {})


def _split(pieces: List[str]) -> List[str]:
    """As fairseq reads a line of them: a control character may be white space."""
    return " ".join(pieces).split()


def _check_declared(folder: str, settings: Dict[str, Any], markers: List[str]) -> None:
    """All tokens that transformers' JSON files declare must be known to the tokenizer."""
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
        raise ValueError(f"the folder declares tokens of its own, {extra[:5]}: {IMPORT_AGAIN}")
