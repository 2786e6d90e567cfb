"""Real texts for the comparison of an export, and their tokens in fairseq's layout."""

import itertools
import os
from collections import Counter
from typing import Callable, List, Optional, Sequence, Tuple

import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from ...data.labels import check_texts
from ...errors import prefixed
from ...tokenizers.subwords import Tokenizer
from ..encode.binarizing import truncate
from ..texts.examples import Texts
from ..texts.files import read_rows

TEXTS = 256  # at which a share of one in twenty is significant
LEAST_SAME = 0.9  # least share of the data's pieces that the tokenizer reproduces
TOO_MANY_UNKNOWN = 0.5  # share of <unk> in the texts, above which the tokenizer is another


def read_texts(path: str) -> List[Texts]:
    with prefixed("--text"):
        texts = [
            tuple(fields) for _, fields in read_rows(path, "tsv") if any(map(str.strip, fields))
        ]
    sizes = {len(fields) for fields in texts}
    if sizes not in ({1}, {2}):
        raise ValueError(
            f"--text must have a text, or a pair with a tab between, on each line, got {path} with "
            f"lines of {sorted(sizes)} texts"
        )
    return spread(texts)


def spread(items: Sequence, count: int = TEXTS) -> list:
    """At most ``count`` of the items, evenly spread."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def validation_texts(task, tokenizer: Tokenizer) -> List[Texts]:
    """Texts of the data's validation split, decoded from their pieces."""
    dictionary, columns = task.source_dictionary, []
    check_texts(task.cfg.data, "valid", dictionary, combine=False)
    for name in ("input0", "input1"):
        prefix = os.path.join(task.cfg.data, name, "valid")
        split = data_utils.load_indexed_dataset(prefix, dictionary)
        if split is not None:
            columns.append(split)
        elif name == "input0":
            raise ValueError(f"--text must be given, since {task.cfg.data} has no split valid")
    lost = (dictionary.eos(), dictionary.unk())  # an unknown piece cannot be decoded
    pieces = [
        [[dictionary[i] for i in column[row] if i not in lost] for column in columns]
        for row in spread(range(len(columns[0])))
    ]
    texts = [tuple(tokenizer.decode(text) for text in of_row) for of_row in pieces]
    check_encoded(pieces, texts, tokenizer, task.cfg.data)
    return texts


def check_encoded(
    pieces: List[List[List[str]]], texts: List[Texts], tokenizer: Tokenizer, data: str
) -> None:
    """Raise ValueError if the tokenizer does not reproduce the data's pieces."""
    there, same = 0, 0
    for of_row, text_of_row in zip(pieces, texts):
        for ours, text in zip(of_row, text_of_row):
            there += len(ours)
            same += (Counter(ours) & Counter(tokenizer.encode(text))).total()
    if same < LEAST_SAME * there:
        raise ValueError(
            f"--tokenizer must be the one that encoded {data}, got one with {same} of {there} "
            "pieces of its texts"
        )


def marked_copies(texts: Sequence[Texts], markers: Sequence[str]) -> List[Texts]:
    """Copies of texts, in which special and added tokens are spelt: between blanks and without."""
    copies = zip(spread(markers), itertools.cycle(texts))
    return [(f"the{name} soup {name}", *texts_of_one[1:]) for name, texts_of_one in copies]


def fairseq_row(texts: Texts, tokenizer: Tokenizer, task, longest: Optional[int] = None) -> Tensor:
    """Token ids (T,) in the layout of fairseq's sentence_prediction, at most ``longest``."""
    row, _ = layout([tokenizer.encode(text) for text in texts], tokenizer, task, longest)
    return row


def layout(
    pieces: Sequence[List[str]], tokenizer: Tokenizer, task, longest: Optional[int] = None
) -> Tuple[Tensor, bool]:
    """:func:`fairseq_row` of the texts' pieces, and whether they were cut, as `encode` cuts."""
    dictionary, cfg = task.source_dictionary, task.cfg
    before, between = ([s] if s is not None else [] for s in (cfg.init_token, cfg.separator_token))
    kept, inputs = pieces, len(pieces)
    if longest is not None:
        room = longest - len(before) - inputs - (inputs - 1) * len(between)
        kept = truncate(pieces, max(room, 0), tokenizer.truncation_side)
    row = list(before)
    for i, text in enumerate(kept):
        row += [*(between if i else ()), *map(dictionary.index, text), dictionary.eos()]
    return torch.tensor(row), sum(map(len, kept)) < sum(map(len, pieces))


def check_pieces(
    cut: Callable[[Texts], List[int]],
    texts: Sequence[Texts],
    tokenizer: Tokenizer,
    task,
    longest: int,
    rows: List[int],
) -> None:
    """The exported tokenizer must give training's pieces; ``rows``: see :class:`Exported`."""
    dictionary = task.source_dictionary
    for one in texts:
        found = [rows[i] for i in cut(one)]
        if found != fairseq_row(one, tokenizer, task, longest).tolist():
            raise ValueError(
                f"the exported tokenizer gives other pieces of {one!r:.200} than training: "
                f"{[dictionary[i] for i in found][:40]}"
            )


def check_fit(rows: List[Tensor], spec: str, dictionary: Dictionary) -> None:
    tokens = torch.cat(rows)
    unknown = tokens.eq(dictionary.unk()).float().mean().item()
    if unknown > TOO_MANY_UNKNOWN:
        raise ValueError(
            f"--tokenizer must be the one that encoded the data, got {spec}: {unknown:.0%} of its "
            "pieces are not in the student's dictionary"
        )
