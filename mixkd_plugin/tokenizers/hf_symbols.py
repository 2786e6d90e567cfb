"""The symbols of a Hugging Face folder's tokenizer in fairseq's dictionaries, and its layout."""

import json
import os
from typing import Any, Dict, List, NamedTuple

from fairseq.data import Dictionary

from .hf_tokenizer import gpt2_numbers, load_tokenizer, special_tokens
from .library import FAIRSEQ_SPECIAL, ROLES, separators_of, symbol_of

FILLER = "madeupword"  # of rows that no text reaches


class HFSymbols(NamedTuple):
    """
    tokenizer: transformers' own
    names: the symbols by the tokenizer's indices, in each way that a dict.txt may have them
    separators: number of </s> between the texts of a pair, besides the one that ends each text
    types: 2 where the tokenizer gives the second text of a pair a type of its own, else 1
    """

    tokenizer: Any
    names: List[Dict[int, str]]
    separators: int
    types: int

    def indices(self, dictionary: Dictionary, part: bool = False) -> List[int]:
        """The tokenizer's index of each symbol of a dictionary; of a filler that of <unk>.

        Args:
            part: whether the dictionary may lack some of the tokenizer's symbols

        Raises:
            ValueError: if the dictionary is not of this tokenizer.
        """
        ours = [symbol for symbol in dictionary.symbols if not symbol.startswith(FILLER)]
        ways = [{symbol: i for i, symbol in names.items()} for names in self.names]
        known = max(ways, key=lambda way: sum(symbol in way for symbol in ours))
        unknown = known.get("<unk>", 0)
        known = {**dict.fromkeys(FAIRSEQ_SPECIAL, unknown), **known}
        strange = [symbol for symbol in ours if symbol not in known]
        if strange:
            raise ValueError(
                f"its tokenizer lacks {len(strange)} of the {len(ours)} symbols of the data's "
                f"vocabulary, such as {strange[0]!r}: encode data with --tokenizer of its folder "
                "(as --teacher-data, where the student has another vocabulary)"
            )
        absent = sorted({*known} - {*ours})
        if absent and not part:
            raise ValueError(
                f"the data's vocabulary lacks {len(absent)} of its tokenizer's {len(known)} "
                f"symbols, such as {absent[0]!r}: encode data with --tokenizer of its folder (as "
                "--teacher-data, where the student has another vocabulary)"
            )
        return [known.get(symbol, unknown) for symbol in dictionary.symbols]


def read_symbols(folder: str, config: Any) -> HFSymbols:
    """The symbols of a folder's fast tokenizer.

    Args:
        config: transformers' configuration of the model

    Raises:
        ValueError: without tokenizer.json, for a layout that is neither BERT's nor RoBERTa's, and
            as :func:`load_tokenizer`.
    """
    if not os.path.isfile(os.path.join(folder, "tokenizer.json")):
        raise ValueError(
            f"{folder} must have a fast tokenizer, got no tokenizer.json: transformers' "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one"
        )
    tokenizer = load_tokenizer(folder, config)
    library = tokenizer.backend_tokenizer
    separators = separators_of(library)
    pair, special = tokenizer("a", "a"), special_tokens(tokenizer)
    special = {special[role]: symbol for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL)}
    tokens = {i: token for token, i in library.get_vocab(with_added_tokens=True).items()}
    numbers = gpt2_numbers(json.loads(library.to_str()))
    ways = [None] if numbers is None else [None, numbers]
    names = [{i: special.get(t) or symbol_of(t, way) for i, t in tokens.items()} for way in ways]
    return HFSymbols(tokenizer, names, separators, 1 + any(pair.get("token_type_ids", ())))
