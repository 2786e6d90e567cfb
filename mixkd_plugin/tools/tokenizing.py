"""Texts to lines of subwords, in several processes, with a progress bar."""

import functools
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import List, NamedTuple, Sequence, Tuple

from tqdm import tqdm

from .subwords import Tokenizer, build_tokenizer

Texts = Tuple[str, ...]  # of one example
CHUNK = 1000  # examples that one process gets at a time; fewer do not pay for a second process


class Counts(NamedTuple):
    """Of examples."""

    cut: int
    empty: int  # a text of which has no subword


def tokenize(
    examples: Sequence[Texts], spec: str, max_tokens: int, workers: int, prefix: str
) -> Counts:
    """Write PREFIX.input0 ..., one a text of an example: a line of subwords for each of them.

    The files are the same for any number of ``workers``.

    Raises:
        ValueError: for a tokenizer that cannot be built, a ``max_tokens`` without room for text, or
            if a process dies.
    """
    tokenizer, inputs = build_tokenizer(spec), len(examples[0])
    limit = room(tokenizer, inputs, max_tokens)
    chunks = range(0, len(examples), CHUNK)
    counts = []
    with ExitStack() as stack:
        # no bar where stderr is no terminal
        title = os.path.basename(prefix)
        bar = tqdm(total=len(examples), desc=title, unit=" examples", disable=None)
        stack.enter_context(bar)
        if min(workers, len(chunks)) == 1:
            write = functools.partial(_write_chunk, examples, tokenizer, limit, prefix)
            done = map(write, chunks)
        else:
            pool = ProcessPoolExecutor(
                min(workers, len(chunks)), initializer=_begin,
                initargs=(examples, spec, limit, prefix),
            )  # fmt: skip
            done = stack.enter_context(pool).map(_write_chunk_in_worker, chunks)
        try:
            for start, found in zip(chunks, done):
                counts.append(found)
                bar.update(len(examples[start : start + CHUNK]))
        except BrokenProcessPool as error:
            raise ValueError(
                f"--workers {workers}: one of the processes died (memory?); fewer may do"
            ) from error
    for i in range(inputs):
        _join(f"{prefix}.input{i}", [_part(prefix, i, start) for start in chunks])
    return Counts(*map(sum, zip(*counts)))


def room(tokenizer: Tokenizer, inputs: int, max_tokens: int) -> int:
    """How many subwords the texts of an example may have.

    Raises:
        ValueError: if that is less than one a text.
    """
    # <s>, one </s> a text, and what the pair layout puts between them
    limit = max_tokens - 1 - inputs - (inputs - 1) * tokenizer.separators
    if limit < inputs:
        raise ValueError(f"--max-tokens {max_tokens} leaves no room for text")
    return limit


def truncate(pieces: List[List[str]], limit: int) -> List[List[str]]:
    """Shorten the longest text, piece by piece from its end, until all have at most ``limit``."""
    pieces = [list(p) for p in pieces]
    while sum(map(len, pieces)) > limit:
        max(pieces, key=len).pop()
    return pieces


def _part(prefix: str, i: int, start: int) -> str:
    return f"{prefix}.input{i}.{start}"


def _write_chunk(
    examples: Sequence[Texts], tokenizer: Tokenizer, limit: int, prefix: str, start: int
) -> Counts:
    """The lines of the examples from ``start`` on."""
    cut, rows = 0, []
    for texts in examples[start : start + CHUNK]:
        pieces = [tokenizer.encode(text) for text in texts]
        kept = truncate(pieces, limit)
        cut += kept != pieces
        rows.append([" ".join(p) for p in kept])
    for i, lines in enumerate(zip(*rows)):
        with open(_part(prefix, i, start), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    return Counts(cut, sum(not all(row) for row in rows))


def _join(path: str, parts: Sequence[str]) -> None:
    with open(path, "wb") as whole:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, whole)
            os.remove(part)


# What a process of the pool works with. Between it and ours go numbers alone, in messages so short
# that they arrive whole or not at all: a pool hangs if a process dies in the middle of one.
_worker: Tuple[Sequence[Texts], Tokenizer, int, str]


def _begin(examples: Sequence[Texts], spec: str, limit: int, prefix: str) -> None:
    global _worker
    _worker = examples, build_tokenizer(spec), limit, prefix


def _write_chunk_in_worker(start: int) -> Counts:
    return _write_chunk(*_worker, start)
