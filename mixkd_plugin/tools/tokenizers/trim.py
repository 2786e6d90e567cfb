"""A tokenizer with the pieces that given texts need, which cuts these texts as the full one does.

Kept are special and added tokens, all single characters (bytes of byte-level BPE), and the pieces
that the full tokenizer finds in the texts. Why the texts are cut as before, by model:

- BPE: with a piece the merges that make it are kept. In each step the full tokenizer's merge is
  still the first of those that are possible.
- Unigram: scores stay, so the best path is still the best of fewer. The piece with the lowest score
  is kept, since the score of an unknown character is counted from it.
- WordPiece: the longest piece at each place is still the longest. Only a word in which the full
  tokenizer got stuck, and so is [UNK], could be cut now; all pieces that it contains are kept.

The texts are compared, whatever the model. Any other text falls apart into smaller pieces.
"""

import json
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Set

from fairseq.data import Dictionary

from .dictionary import dictionary_of, write_dictionary
from .hf_tokenizer import merges_of, write_settings
from .library import FAIRSEQ_SPECIAL, ROLES, Tokenizer, with_layout

BATCH = 1000  # texts that are compared in one call


class Trimmed(NamedTuple):
    """
    tokenizer: its symbols are those of the full one
    dictionary: the words of the full dictionary that it has, in their order
    """

    tokenizer: Tokenizer
    dictionary: Dictionary


def trim_vocabulary(full: Tokenizer, dictionary: Dictionary, texts: Sequence[str]) -> Trimmed:
    """The tokenizer and dictionary for ``texts``.

    Args:
        dictionary: of the model that the full tokenizer belongs to

    Raises:
        ValueError: for a tokenizer that cannot be trimmed.
    """
    if full.library is None:
        raise ValueError(
            "--trim-vocabulary needs a tokenizer of the library tokenizers: import the model with "
            "import_hf, and name OUT_DIR with --tokenizer hf:"
        )
    description = json.loads(full.library.to_str())
    vocabulary = _Vocabulary(description)
    found = {i for ids in _pieces(full, texts) for i in ids}
    kept = vocabulary.always() | vocabulary.with_parts(found)
    kept |= {i for i, symbol in full.symbols.items() if symbol in FAIRSEQ_SPECIAL}
    names = {role: _token(full, symbol) for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL)}
    while True:
        library = _rebuilt(description, vocabulary, kept & vocabulary.tokens.keys())
        tokens = library.get_vocab(with_added_tokens=True)
        numbers = full.numbers and {t: n for t, n in full.numbers.items() if t in tokens}
        small = with_layout(library, names, numbers)
        more = {
            i
            for text in different_texts(full, small, texts)
            for i in vocabulary.inside(_normalised(full.library, text))
        }
        if more <= kept:
            break
        kept |= more
    small = small._replace(truncation_side=full.truncation_side)
    symbols = {*small.symbols.values()}
    return Trimmed(small, dictionary_of([word for word in dictionary.symbols if word in symbols]))


def write_trimmed(trimmed: Trimmed, folder: str, longest: int) -> None:
    """Write a folder for `--tokenizer hf:FOLDER`, which AutoTokenizer reads, too.

    Args:
        longest: tokens to which transformers cuts a text, if it is asked to
    """
    os.makedirs(folder)
    tokenizer, dictionary = trimmed
    tokenizer.library.save(os.path.join(folder, "tokenizer.json"))
    names = {role: _token(tokenizer, symbol) for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL)}
    write_settings(names, folder, longest, tokenizer.truncation_side)
    if tokenizer.numbers is not None:
        with open(os.path.join(folder, "encoder.json"), "w", encoding="utf-8") as f:
            json.dump(tokenizer.numbers, f)
    write_dictionary(dictionary, os.path.join(folder, "dict.txt"))


def different_texts(one: Tokenizer, other: Tokenizer, texts: Sequence[str]) -> List[str]:
    """The texts that two tokenizers with the same symbols cut into different pieces."""
    return [
        text
        for text, ours, theirs in zip(texts, _pieces(one, texts), _pieces(other, texts))
        if [one.symbols[i] for i in ours] != [other.symbols[i] for i in theirs]
    ]


def _pieces(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[List[int]]:
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        for row in tokenizer.library.encode_batch_fast(batch, add_special_tokens=False):
            yield row.ids


def _token(tokenizer: Tokenizer, symbol: str) -> Any:
    found = (i for i, known in tokenizer.symbols.items() if known == symbol)
    return next(map(tokenizer.library.id_to_token, found), None)


def _normalised(library: Any, text: str) -> str:
    """A text as the model sees it, all of its words in one."""
    text = library.normalizer.normalize_str(text) if library.normalizer else text
    words = library.pre_tokenizer.pre_tokenize_str(text) if library.pre_tokenizer else [(text, 0)]
    return "".join(word for word, _ in words)


class _Vocabulary:
    """The pieces of the model in a tokenizer.json.

    Raises:
        ValueError: for a kind of model that is not supported.
    """

    def __init__(self, description: Dict[str, Any]):
        model = description["model"]
        self._model, self._merges = model, {}
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._suffix = model.get("end_of_word_suffix") or ""
        if model["type"] == "Unigram":
            self.tokens = {i: piece for i, (piece, _) in enumerate(model["vocab"])}
        elif model["type"] == "WordPiece" or (model["type"] == "BPE" and not self._prefix):
            self.tokens = {i: piece for piece, i in model["vocab"].items()}
        else:
            raise ValueError(
                "--trim-vocabulary needs a WordPiece, Unigram or BPE tokenizer, got "
                f"{model['type']}{' with a prefix of pieces' if self._prefix else ''}"
            )
        self._ids = {piece: i for i, piece in self.tokens.items()}
        if model["type"] == "BPE":
            self._merges = {pair: rank for rank, pair in enumerate(merges_of(model))}

    def always(self) -> Set[int]:
        """Single characters and bytes, and what the model needs itself."""
        kept = {i for i, piece in self.tokens.items() if len(self._bare(piece)) == 1}
        if self._model.get("byte_fallback"):
            kept |= {self._ids[b] for b in map("<0x{:02X}>".format, range(256)) if b in self._ids}
        if self._model["type"] == "Unigram":
            scores = [score for _, score in self._model["vocab"]]
            kept |= {scores.index(min(scores)), self._model["unk_id"]} - {None}
        unknown = self._ids.get(self._model.get("unk_token"))
        return kept if unknown is None else kept | {unknown}

    def _bare(self, piece: str) -> str:
        bare = piece.removeprefix(self._prefix).removesuffix(self._suffix)
        return bare or piece

    def with_parts(self, pieces: Set[int]) -> Set[int]:
        """Pieces, and those that BPE makes on its way to them."""
        made = {part for i in pieces for part in self._steps(self.tokens.get(i, ""))}
        return pieces | {self._ids[part] for part in made}

    def _steps(self, piece: str) -> Iterator[str]:
        bare, end = piece, ""
        if self._suffix and piece.endswith(self._suffix):
            bare, end = piece.removesuffix(self._suffix), self._suffix
        parts = [*bare[:-1], bare[-1:] + end]
        while True:
            pairs = [
                (self._merges[pair], at)
                for at, pair in enumerate(zip(parts, parts[1:]))
                if pair in self._merges
            ]
            if not pairs:
                return
            at = min(pairs)[1]
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
            yield parts[at]

    def inside(self, text: str) -> Set[int]:
        """All pieces that occur in a text, which the model cuts with these as with all others."""
        longest = max(map(len, self._ids))
        found = (
            form
            for start in range(len(text))
            for end in range(start + 1, min(start + longest, len(text)) + 1)
            for part in [text[start:end]]
            for form in (part, self._prefix + part, part + self._suffix)
        )
        return {self._ids[form] for form in found if form in self._ids}

    def smaller(self, kept: Set[int]) -> Dict[str, Any]:
        """The model with these pieces, numbered in their order."""
        model = dict(self._model)
        order = sorted(kept)
        if model["type"] == "Unigram":
            model["vocab"] = [model["vocab"][i] for i in order]
            if model["unk_id"] is not None:
                model["unk_id"] = order.index(model["unk_id"])
            return model
        model["vocab"] = {self.tokens[i]: new for new, i in enumerate(order)}
        if self._merges:
            model["merges"] = [
                merge
                for merge, pair in zip(model["merges"], merges_of(model))
                if all(part in model["vocab"] for part in (*pair, "".join(pair)))
            ]
        return model


def _rebuilt(description: Dict[str, Any], vocabulary: _Vocabulary, kept: Set[int]) -> Any:
    import tokenizers

    added = description["added_tokens"]
    kept = kept | {token["id"] for token in added} & vocabulary.tokens.keys()
    outside = sorted(token["id"] for token in added if token["id"] not in vocabulary.tokens)
    numbers = {old: new for new, old in enumerate([*sorted(kept), *outside])}
    renumbered = {
        **description,
        "model": vocabulary.smaller(kept),
        "added_tokens": [{**token, "id": numbers[token["id"]]} for token in added],
        "post_processor": _renumbered(description["post_processor"], numbers),
    }
    return tokenizers.Tokenizer.from_str(json.dumps(renumbered))


def _renumbered(processor: Any, numbers: Dict[int, int]) -> Any:
    """A post-processor of tokenizer.json with the indices of other special tokens."""
    if processor is None:
        return None
    changed = dict(processor)
    for name in ("cls", "sep"):  # BertProcessing and RobertaProcessing
        if name in processor:
            token, index = processor[name]
            changed[name] = [token, numbers[index]]
    if "special_tokens" in processor:  # TemplateProcessing
        changed["special_tokens"] = {
            name: {**token, "ids": [numbers[i] for i in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    if "processors" in processor:  # Sequence
        changed["processors"] = [_renumbered(part, numbers) for part in processor["processors"]]
    return changed
