"""Real texts to compare an export on, and their tokens as fairseq lays them out."""

import itertools
import os
from collections import Counter
from typing import Callable, List, Sequence

import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from ...data.labels import check_texts
from ..texts.examples import Texts
from ..texts.reading import read_rows
from ..tokenizers.subwords import Tokenizer

TEXTS = 256  # of which one in twenty is not chance
LEAST_SAME = 0.9  # share of the data's pieces that the tokenizer finds again
TOO_MANY_UNKNOWN = 0.5  # share of <unk> in the texts: it is another vocabulary's tokenizer


def read_texts(path: str) -> List[Texts]:
    try:
        texts = [
            tuple(fields) for _, fields in read_rows(path, "tsv") if any(map(str.strip, fields))
        ]
    except ValueError as error:
        raise ValueError(f"--text: {error}") from error
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
    """Texts of the data's validation split, put together again from their pieces."""
    dictionary, columns = task.source_dictionary, []
    check_texts(task.cfg.data, "valid", dictionary, combine=False)
    for name in ("input0", "input1"):
        prefix = os.path.join(task.cfg.data, name, "valid")
        split = data_utils.load_indexed_dataset(prefix, dictionary)
        if split is not None:
            columns.append(split)
        elif name == "input0":
            raise ValueError(
                f"data folder {task.cfg.data} has no split valid: --text names a file to compare on"
            )
    lost = (dictionary.eos(), dictionary.unk())  # nobody knows what an unknown piece was
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
    """Texts put together by another tokenizer than the data's are cut otherwise by it, too."""
    there, same = 0, 0
    for of_row, text_of_row in zip(pieces, texts):
        for ours, text in zip(of_row, text_of_row):
            there += len(ours)
            same += (Counter(ours) & Counter(tokenizer.encode(text))).total()
    if same < LEAST_SAME * there:
        raise ValueError(
            f"--tokenizer cuts the texts of {data} otherwise than they were encoded ({same} of "
            f"{there} pieces are the same): give the tokenizer that the data was encoded with"
        )


def marked_copies(texts: Sequence[Texts], markers: Sequence[str]) -> List[Texts]:
    """Copies of texts, in which special and added tokens are spelt: between blanks and without."""
    copies = zip(spread(markers), itertools.cycle(texts))
    return [(f"the{name} soup {name}", *texts_of_one[1:]) for name, texts_of_one in copies]


def fairseq_row(texts: Texts, tokenizer: Tokenizer, task) -> Tensor:
    """Token ids (T,) as fairseq's sentence_prediction lays texts out."""
    dictionary, cfg = task.source_dictionary, task.cfg
    row = [cfg.init_token] if cfg.init_token is not None else []
    for i, text in enumerate(texts):
        row += [cfg.separator_token] if i and cfg.separator_token is not None else []
        row += [dictionary.index(piece) for piece in tokenizer.encode(text)]
        row.append(dictionary.eos())
    return torch.tensor(row)


def check_pieces(
    cut: Callable[[Texts], List[int]],
    texts: Sequence[Texts],
    tokenizer: Tokenizer,
    task,
    rows: List[int],
) -> None:
    """What is exported must cut texts as training did; ``rows``: of :class:`Exported`."""
    dictionary = task.source_dictionary
    for one in texts:
        found = [rows[i] for i in cut(one)]
        if found != fairseq_row(one, tokenizer, task).tolist():
            raise ValueError(
                f"the exported tokenizer cuts {one!r:.200} otherwise than training did: "
                f"{[dictionary[i] for i in found][:40]}"
            )


def check_fit(rows: List[Tensor], spec: str, dictionary: Dictionary) -> None:
    tokens = torch.cat(rows)
    unknown = tokens.eq(dictionary.unk()).float().mean().item()
    if unknown > TOO_MANY_UNKNOWN:
        raise ValueError(
            f"--tokenizer {spec}: {unknown:.0%} of its pieces are not in the student's dictionary; "
            "is it the tokenizer that the data was encoded with?"
        )
