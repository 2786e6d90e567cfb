"""Texts to lines of subwords, in several processes, with a progress bar."""

import functools
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Iterator, List, NamedTuple, Sequence, Tuple

from tqdm import tqdm

from .subwords import Tokenizer, build_tokenizer

Texts = Tuple[str, ...]  # of one example
CHUNK = 1000  # examples that one process gets at a time; fewer do not pay for a second process


class Pieces(NamedTuple):
    """An example, ready for fairseq-preprocess."""

    lines: Tuple[str, ...]  # one a text: its subwords, with blanks between
    cut: bool


def tokenize(
    examples: Sequence[Texts], spec: str, max_tokens: int, workers: int, title: str
) -> Iterator[Pieces]:
    """The subwords of every example, in order and the same for any number of ``workers``.

    Raises:
        ValueError: for a tokenizer that cannot be built, a ``max_tokens`` without room for text, or
            if a process dies.
    """
    tokenizer = build_tokenizer(spec)
    limit = room(tokenizer, len(examples[0]), max_tokens)
    chunks = [examples[i : i + CHUNK] for i in range(0, len(examples), CHUNK)]
    with ExitStack() as stack:
        # no bar where stderr is no terminal
        bar = tqdm(total=len(examples), desc=title, unit=" examples", disable=None)
        stack.enter_context(bar)
        if min(workers, len(chunks)) == 1:
            done = map(functools.partial(_tokenize_chunk, tokenizer, limit), chunks)
        else:
            pool = ProcessPoolExecutor(
                min(workers, len(chunks)), initializer=_begin, initargs=(spec, limit)
            )
            done = stack.enter_context(pool).map(_tokenize_in_worker, chunks)
        try:
            for chunk in done:
                yield from chunk
                bar.update(len(chunk))
        except BrokenProcessPool as error:
            raise ValueError(
                f"--workers {workers}: one of the processes died (memory?); fewer may do"
            ) from error


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


def _tokenize_chunk(tokenizer: Tokenizer, limit: int, chunk: Sequence[Texts]) -> List[Pieces]:
    found = []
    for texts in chunk:
        pieces = [tokenizer.encode(text) for text in texts]
        kept = truncate(pieces, limit)
        found.append(Pieces(tuple(map(" ".join, kept)), kept != pieces))
    return found


_worker: Tuple[Tokenizer, int]  # of a process of the pool: a tokenizer cannot be sent to it


def _begin(spec: str, limit: int) -> None:
    global _worker
    _worker = build_tokenizer(spec), limit


def _tokenize_in_worker(chunk: Sequence[Texts]) -> List[Pieces]:
    return _tokenize_chunk(*_worker, chunk)
