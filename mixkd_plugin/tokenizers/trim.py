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
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from fairseq.data import Dictionary

from .dictionary import dictionary_of, write_dictionary
from .hf_tokenizer import write_settings
from .library import FAIRSEQ_SPECIAL, ROLES, Tokenizer, with_layout
from .pieces import Vocabulary, rebuilt

BATCH = 1000  # texts that are compared in one call


def trim_vocabulary(
    full: Tokenizer, dictionary: Dictionary, texts: Sequence[str]
) -> Tuple[Tokenizer, Dictionary]:
    """The tokenizer for ``texts``, with symbols of the full one, and its words in their order.

    Args:
        dictionary: of the model that the full tokenizer belongs to

    Raises:
        ValueError: for a tokenizer that cannot be trimmed.
    """
    if full.library is None:
        raise ValueError(
            "--trim-vocabulary needs a tokenizer of the library tokenizers: import the model with "
            "`mixkd import`, and name its --out with --tokenizer hf:"
        )
    description = json.loads(full.library.to_str())
    description["post_processor"] = description["post_processor"] or _layout(full)
    vocabulary = Vocabulary(description["model"])
    found = {i for ids in _pieces(full, texts) for i in ids}
    kept = vocabulary.always() | vocabulary.with_parts(found)
    kept |= {i for i, symbol in full.symbols.items() if symbol in FAIRSEQ_SPECIAL}
    names = {role: _token(full, symbol) for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL)}
    while True:
        library = rebuilt(description, vocabulary, kept & vocabulary.tokens.keys())
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
    return small, dictionary_of([word for word in dictionary.symbols if word in symbols])


def write_trimmed(tokenizer: Tokenizer, dictionary: Dictionary, folder: str, longest: int) -> None:
    """Write a folder for `--tokenizer hf:FOLDER`, which AutoTokenizer reads, too.

    Args:
        longest: tokens to which transformers cuts a text, if it is asked to
    """
    os.makedirs(folder)
    tokenizer.library.save(os.path.join(folder, "tokenizer.json"))
    names = {role: _token(tokenizer, symbol) for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL)}
    types = 1 + max(tokenizer.library.encode("a", "a").type_ids)
    write_settings(names, folder, longest, tokenizer.truncation_side, types)
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


def _layout(tokenizer: Tokenizer) -> Dict[str, Any]:
    """A post-processor for a tokenizer of fairseq's own files, which has none."""
    indices = {symbol: i for i, symbol in tokenizer.symbols.items()}
    ends = {
        "cls": [_token(tokenizer, "<s>"), indices.get("<s>")],
        "sep": [_token(tokenizer, "</s>"), indices.get("</s>")],
    }
    if tokenizer.separators:
        more = {"trim_offsets": False, "add_prefix_space": False}
        return {"type": "RobertaProcessing", **ends, **more}
    return {"type": "BertProcessing", **ends}


def _normalised(library: Any, text: str) -> str:
    """A text as the model sees it, all of its words in one."""
    text = library.normalizer.normalize_str(text) if library.normalizer else text
    words = library.pre_tokenizer.pre_tokenize_str(text) if library.pre_tokenizer else [(text, 0)]
    return "".join(word for word, _ in words)
