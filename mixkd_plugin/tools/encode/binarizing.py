"""Texts and labels to the files of fairseq's data folders, by fairseq's own writer."""

import os
from typing import Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from fairseq.data import Dictionary, indexed_dataset
from tqdm import tqdm

from ...errors import prefixed
from ...fingerprints import check_regular
from ...tokenizers.dictionary import dictionary_of, write_dictionary
from ...tokenizers.subwords import Tokenizer
from ..texts.examples import Example, Targets
from ..texts.likeness import is_blank

BATCH = 1000  # examples that are tokenised in one call, by the library's threads


class Counts(NamedTuple):
    """Counts of a split's examples."""

    cut: int
    empty: int  # examples with a text without visible characters or subwords
    lost: int  # examples with only <unk>
    subwords: int  # in all columns
    unknown: Tuple[float, ...]  # share of them that are <unk>, in each column


def room(tokenizer: Tokenizer, inputs: int, max_tokens: int) -> int:
    """How many subwords the texts of an example may have.

    Raises:
        ValueError: if that is less than one per text.
    """
    limit = max_tokens - tokenizer.added(inputs)
    if limit < inputs:
        raise ValueError(f"--max-length must leave room for each text, got {max_tokens}")
    return limit


def truncate(pieces: Sequence[List[str]], limit: int, side: str = "right") -> List[List[str]]:
    """Shorten texts at a ``side`` as transformers does: the longer one, until both are equal."""
    sizes = [min(len(pieces[0]), limit)]
    if len(pieces) == 2:
        short = min(*map(len, pieces), limit // 2)
        longer = min(max(map(len, pieces)), limit - short)
        sizes = [short, longer] if len(pieces[0]) <= len(pieces[1]) else [longer, short]
    if side == "left":
        return [text[len(text) - size :] for text, size in zip(pieces, sizes)]
    return [text[:size] for text, size in zip(pieces, sizes)]


def read_dictionary(path: str) -> Dictionary:
    """The dictionary of a model.

    Raises:
        ValueError: with the file's name, if fairseq cannot read it.
    """
    if not os.path.exists(path):
        raise ValueError(f"--dict must be the model's dict.txt, got no file {path}")
    with prefixed(f"--dict {path}", Exception):  # fairseq raises Exception itself, too
        check_regular(path)
        dictionary = Dictionary.load(path)
    if len(dictionary) == dictionary.nspecial:
        raise ValueError(f"--dict must have symbols, got an empty {path}")
    return dictionary


class Writer:
    """Writes PREFIX.bin and PREFIX.idx as fairseq-preprocess does, one sequence at a time."""

    def __init__(self, prefix: str, dictionary: Dictionary):
        self._prefix = prefix
        self._builder = indexed_dataset.make_builder(
            indexed_dataset.data_file_path(prefix), "mmap", vocab_size=len(dictionary)
        )

    def add(self, row: Sequence[int]) -> None:
        self._builder.add_item(torch.from_numpy(np.array(row, dtype=np.int64)))

    def close(self) -> None:
        self._builder.finalize(indexed_dataset.index_file_path(self._prefix))


def write_texts(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    dictionary: Dictionary,
    limit: int,
    folder: str,
    split: str,
    title: str,
) -> Counts:
    """Write FOLDER/input0/SPLIT, and input1 for pairs.

    Raises:
        ValueError: beginning with ``title`` and the line, for a text that cannot be encoded.
    """
    inputs = len(examples[0].texts)
    writers = [Writer(os.path.join(folder, f"input{i}", split), dictionary) for i in range(inputs)]
    find, unknown, end = dictionary.indices.get, dictionary.unk(), dictionary.eos()
    unknowns = {unknown, find(dictionary.unk_word)}  # another one where dict.txt overwrites it
    cut, empty, lost, subwords, unk = 0, 0, 0, [0] * inputs, [0] * inputs
    # no progress bar unless stderr is a terminal
    with tqdm(total=len(examples), desc=split, unit=" examples", disable=None) as bar:
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            columns = zip(*(e.texts for e in batch))
            try:
                columns = [tokenizer.encode_batch(list(texts)) for texts in columns]
            except ValueError:  # again, one by one: which of them was it?
                for example in batch:
                    with prefixed(f"{title}, line {example.line}"):
                        tokenizer.encode_batch(list(example.texts))
                raise
            for example, pieces in zip(batch, zip(*columns)):
                kept = truncate(pieces, limit, tokenizer.truncation_side)
                cut += sum(map(len, kept)) < sum(map(len, pieces))
                found = []
                for i, text in enumerate(kept):
                    # as fairseq reads a line of them
                    row = [find(piece, unknown) for piece in " ".join(text).split()]
                    found.append(sum(index in unknowns for index in row))
                    subwords[i] += len(row)
                    unk[i] += found[i]
                    writers[i].add([*row, end])
                empty += not all(kept) or any(map(is_blank, example.texts))
                lost += 0 < sum(map(len, kept)) == sum(found)
            bar.update(len(batch))
    for writer in writers:
        writer.close()
    shares = tuple(count / max(of, 1) for count, of in zip(unk, subwords))
    return Counts(cut, empty, lost, sum(subwords), shares)


def write_labels(examples: Iterable[Example], targets: Targets, folder: str, split: str) -> None:
    """FOLDER/label/SPLIT: classes numbered in their order, or numbers as text; several labels have
    both the names of classes and numbers."""
    folder = os.path.join(folder, "label")
    os.makedirs(folder, exist_ok=True)
    dictionary = dictionary_of(targets.classes or ())
    if targets.classes is not None:
        write_dictionary(dictionary, os.path.join(folder, "dict.txt"))
    if targets.classes is None or targets.multi_label:
        with open(os.path.join(folder, f"{split}.label"), "w", encoding="utf-8") as file:
            file.writelines(f"{example.label}\n" for example in examples)
        return
    writer = Writer(os.path.join(folder, split), dictionary)
    for example in examples:
        writer.add([dictionary.index(example.label), dictionary.eos()])
    writer.close()
