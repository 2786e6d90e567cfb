"""fairseq's batcher without a compiler: the same batches as the compiled `data_utils_fast`.

Without the compiled module, as in wheels for new Pythons, fairseq cannot make a batch. apply.py
then registers this module under its name, for all tasks. Upstream:
not reported.

An ordered list of examples is cut into consecutive batches. A batch has at most `max_sentences`
examples, and at most `max_tokens` tokens with padding to its longest (no limit if <= 0). Its size
is below `bsz_mult` or a multiple of it, except if a limit or the end of the list prevents it.
"""

from __future__ import annotations

from typing import Callable, NoReturn

import numpy as np


def batch_by_size_vec(
    indices: np.ndarray,
    num_tokens_vec: np.ndarray,
    max_tokens: int,
    max_sentences: int,
    bsz_mult: int,
) -> list[np.ndarray]:
    """Cut `indices` (N,), whose lengths are `num_tokens_vec` (N,), into a list of batches."""
    if len(indices) == 0:
        return []
    longest = num_tokens_vec.max()
    if 0 < max_tokens < longest:
        raise AssertionError(
            f"an example of {longest} tokens is longer than --max-tokens {max_tokens}"
        )
    return np.split(
        indices, _batch_ends(num_tokens_vec.tolist(), max_tokens, max_sentences, bsz_mult)[:-1]
    )


def _batch_ends(
    lengths: list[int], max_tokens: int, max_sentences: int, multiple: int
) -> list[int]:
    """The position after each batch's last example.

    The open batch is [start, end), of an allowed size; then [end, here) wait for the next
    allowed size. While batch, waiting examples and the next example fit the limits, it is added.
    Otherwise the batch is closed, and the waiting examples and the next one start another; if these
    have too many tokens, the waiting examples are closed as a separate batch.
    """
    no_limit = float("inf")
    max_tokens = max_tokens if max_tokens > 0 else no_limit
    max_sentences = max_sentences if max_sentences > 0 else no_limit
    closed = []
    start = end = 0
    open_longest = waiting_longest = 0
    for here, length in enumerate(lengths):
        waiting_longest = max(waiting_longest, length)
        size = here + 1 - start
        longest = max(open_longest, waiting_longest)
        fits = size <= max_sentences and size * longest <= max_tokens
        if not fits:
            closed.append(end)
            start = end
            if (here + 1 - start) * waiting_longest > max_tokens:
                closed.append(here)
                start = here
                waiting_longest = length
            longest = waiting_longest
        if not fits or size < multiple or size % multiple == 0:
            end = here + 1
            open_longest = longest
            waiting_longest = 0
    closed.append(end)
    if end < len(lengths):
        closed.append(len(lengths))
    return closed


def batch_by_size_fn(
    indices: np.ndarray,
    num_tokens_fn: Callable[[int], int],
    max_tokens: int,
    max_sentences: int,
    bsz_mult: int,
) -> list[np.ndarray]:
    """`batch_by_size_vec` with a function for the lengths."""
    num_tokens_vec = np.array([num_tokens_fn(index) for index in indices.tolist()], dtype=np.int64)
    return batch_by_size_vec(indices, num_tokens_vec, max_tokens, max_sentences, bsz_mult)


def batch_fixed_shapes_fast(*_arguments) -> NoReturn:
    """fairseq imports the name, and calls it only for tasks with buckets of lengths."""
    raise NotImplementedError(
        "--num-batch-buckets must be left out without fairseq's compiled data_utils_fast"
    )
