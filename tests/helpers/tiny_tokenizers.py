"""Tiny tokenizers of the three kinds, in the files that `--tokenizer` reads, trained on a text."""

import json
from pathlib import Path
from typing import Sequence

import sentencepiece
import tokenizers

KINDS = ("wordpiece", "gpt2", "sentencepiece")
TEXT = [
    "the soup was not cold", "The soup, they said, was cold.", 'a "naïve" question?', "cold soup!",
    "Das Gemüse schmeckt müde", "do not ask", "I don't know", "x = 3.14 #no", "日本 語", "a b c",
]  # fmt: skip
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LONGEST = 8  # characters of a piece; a longer word is two


def wordpieces(text: Sequence[str], special: Sequence[str]) -> dict:
    """Piece -> id. Equal in each process; what the library's trainer makes is not."""
    made = tokenizers.BertWordPieceTokenizer(lowercase=True)
    words = {
        word
        for line in text
        for word, _ in made.pre_tokenizer.pre_tokenize_str(made.normalizer.normalize_str(line))
    }
    pieces = {word[:LONGEST] for word in words}
    pieces |= {f"##{word[LONGEST:]}" for word in words if len(word) > LONGEST}
    letters = {*"".join(words)}
    pieces |= letters | {f"##{letter}" for letter in letters}
    return {piece: i for i, piece in enumerate([*special, *sorted(pieces)])}


def write_tokenizer(kind: str, folder: Path, text: Sequence[str] = TEXT) -> str:
    """Train one that knows every character of ``text``; return the value of `--tokenizer`."""
    folder.mkdir(parents=True, exist_ok=True)
    write = {"wordpiece": _wordpiece, "gpt2": _gpt2, "sentencepiece": _sentencepiece}[kind]
    symbols, path = write(folder, list(text))
    (folder / "dict.txt").write_text("".join(f"{s} 1\n" for s in symbols), encoding="utf-8")
    return f"{kind}:{path}"


def _wordpiece(folder, text):
    vocabulary = wordpieces(text, BERT)
    tokenizer = tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return [w for w in vocabulary if w not in BERT], folder


def _gpt2(folder, text):
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(text, vocab_size=300, min_frequency=1, show_progress=False)
    tokenizer.save_model(str(folder))
    (folder / "encoder.json").write_text(json.dumps(tokenizer.get_vocab()))
    (folder / "merges.txt").rename(folder / "vocab.bpe")
    return range(tokenizer.get_vocab_size()), folder


def _sentencepiece(folder, text):
    prefix = str(folder / "sentencepiece.bpe")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_prefix=prefix, vocab_size=70, hard_vocab_limit=False,
        character_coverage=1.0, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    return [pieces.id_to_piece(i) for i in range(3, len(pieces))], prefix + ".model"
