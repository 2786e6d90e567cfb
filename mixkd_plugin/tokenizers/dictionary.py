"""fairseq's dictionary of a tokenizer's symbols."""

import itertools
import os
from typing import List, Mapping, Sequence

from fairseq.data import Dictionary

from .library import FAIRSEQ_SPECIAL


def names_of_rows(symbols: Mapping[int, str], num_rows: int) -> List[str]:
    """The symbol of each row of an embedding table; rows without one get fairseq's filler names.

    Args:
        symbols: by the tokenizer's indices, all of them less than ``num_rows``

    Raises:
        ValueError: for a symbol of two indices.
    """
    taken = {*symbols.values()}
    if len(taken) < len(symbols):
        raise ValueError("the vocabulary repeats a symbol")
    fillers = (f"madeupword{i:04d}" for i in itertools.count())
    unused = (name for name in fillers if name not in taken)
    return [symbols[row] if row in symbols else next(unused) for row in range(num_rows)]


def dictionary_of(names: Sequence[str]) -> Dictionary:
    """The words in their order, after fairseq's own special symbols and without <mask>."""
    dictionary = Dictionary()
    for name in names:
        if name not in FAIRSEQ_SPECIAL:
            dictionary.add_symbol(name)
    return dictionary


def write_dictionary(dictionary: Dictionary, path: str) -> None:
    """Save a dictionary; ValueError if fairseq reads another one from the file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    dictionary.save(path)
    try:
        read_back = Dictionary.load(path).symbols
    except (RuntimeError, ValueError):
        read_back = []
    if read_back != dictionary.symbols:
        raise ValueError("the vocabulary has a symbol that fairseq's dict.txt cannot store")
