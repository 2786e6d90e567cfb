"""The value of --tokenizer, KIND:PATH; imports no library, since parsers of commands use it."""

import os
from typing import Tuple

from .library import SENTENCEPIECE_FILE

TOKENIZERS = {
    "hf": "hf:DIR (a Hugging Face folder, or what `mixkd import` wrote)",
    "wordpiece": "wordpiece:DIR (BERT: tokenizer.json or vocab.txt)",
    "gpt2": "gpt2:DIR (RoBERTa: encoder.json and vocab.bpe)",
    "sentencepiece": "sentencepiece:FILE or DIR (XLM-R: sentencepiece.bpe.model)",
}


def parse_spec(spec: str) -> Tuple[str, str]:
    """Kind and path of KIND:PATH (sentencepiece: of the file); ValueError for another kind."""
    kind, _, path = spec.partition(":")
    if kind not in TOKENIZERS or not path:
        raise ValueError(f"--tokenizer must be {'; '.join(TOKENIZERS.values())}, got {spec!r}")
    if kind == "sentencepiece" and os.path.isdir(path):
        path = os.path.join(path, SENTENCEPIECE_FILE)
    return kind, path
