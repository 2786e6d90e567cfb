"""Data of real lengths and random tokens: all that speed depends on.

    python examples/benchmark/data.py sst2=DATA_DIR rte=DATA_DIR

measures the lengths of binarised training splits and writes lengths.json.
"""

import json
import os
import sys
from collections import Counter

import numpy as np
import torch
from fairseq.data import data_utils, indexed_dataset

LENGTHS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lengths.json")
SPECIALS, EOS = 4, 2  # <s> <pad> </s> <unk> begin a dictionary of fairseq's


def measure(data: str) -> dict:
    """{tokens: examples} of a training split; tokens of all texts and of the leading <s>."""
    total = 1
    for name in sorted(d for d in os.listdir(data) if d.startswith("input")):
        texts = data_utils.load_indexed_dataset(os.path.join(data, name, "train"), None)
        total = total + np.asarray(texts.sizes)
    return {str(length): count for length, count in sorted(Counter(total.tolist()).items())}


def draw_lengths(task: str, examples: int, seed: int) -> np.ndarray:
    """(examples,) tokens of each, with <s>: spread over the task's lengths, in random order.

    They are evenly spaced quantiles of the histogram, so that a few hundred examples already have
    the mean and the longest texts of all.
    """
    with open(LENGTHS, encoding="utf-8") as f:
        histogram = json.load(f)[task]
    lengths = np.repeat([int(k) for k in histogram], list(histogram.values()))
    places = (np.arange(examples) + 0.5) / examples * len(lengths)
    # not RandomState(seed), with which fairseq shuffles: it would undo this order exactly
    return np.random.default_rng(seed).permutation(lengths[places.astype(np.int64)])


def write_data(out: str, lengths: np.ndarray, vocabulary: int, seed: int) -> None:
    """A data folder of two classes, split ``train``; for ``--num-classes 2 --init-token 0``.

    Args:
        lengths: (n,) tokens of each example, with the <s> that --init-token puts before it
        vocabulary: rows of the embedding
    """
    random = np.random.RandomState(seed)
    words = vocabulary - SPECIALS - 1  # fairseq's task adds <mask>
    texts = []
    for length in lengths:
        text = random.randint(SPECIALS, SPECIALS + words, size=length - 1)
        text[-1] = EOS
        texts.append(text)
    labels = [[SPECIALS + label, EOS] for label in random.randint(0, 2, size=len(lengths))]
    _write(os.path.join(out, "input0"), texts, [f"w{i}" for i in range(words)], vocabulary)
    _write(os.path.join(out, "label"), labels, ["0", "1"], SPECIALS + 2)


def _write(folder: str, rows, symbols, size: int) -> None:
    os.makedirs(folder)
    with open(os.path.join(folder, "dict.txt"), "w", encoding="utf-8") as f:
        f.writelines(f"{symbol} 1\n" for symbol in symbols)
    path = os.path.join(folder, "train")
    builder = indexed_dataset.make_builder(f"{path}.bin", "mmap", vocab_size=size)
    for row in rows:
        builder.add_item(torch.as_tensor(np.array(row)))
    builder.finalize(f"{path}.idx")


if __name__ == "__main__":
    folders = dict(argument.split("=", 1) for argument in sys.argv[1:])
    with open(LENGTHS, "w", encoding="utf-8") as file:
        json.dump({task: measure(folder) for task, folder in folders.items()}, file)
        file.write("\n")
