"""Label files with and without an end-of-sentence symbol: fairseq accepts both."""

import numpy as np
import pytest
import torch
import toy
from fairseq.data import Dictionary, indexed_dataset
from recorded_train import batches_of
from tiny_models import dictionary_with

from mixkd_plugin.data import labels
from mixkd_plugin.data.labels import check_separators, read_class_labels

CLASSES = dictionary_with("abc")
A, B, C, END = *(CLASSES.index(name) for name in "abc"), CLASSES.eos()


def write(folder, split, rows, impl="mmap", column="label"):
    prefix = folder / column / split
    prefix.parent.mkdir(parents=True, exist_ok=True)
    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl, vocab_size=len(CLASSES))
    for row in rows:
        builder.add_item(torch.tensor(row, dtype=torch.int32))
    builder.finalize(f"{prefix}.idx")


def read(folder, combine=False):
    return read_class_labels(str(folder), "train", CLASSES, 3, combine, unlabelled=False)


@pytest.mark.parametrize("impl", ["mmap", "cached"])
@pytest.mark.parametrize(
    "rows",
    [
        [[A], [C], [B], [A]],
        [[A, END], [C, END], [B, END], [A, END]],
        [[A], [C, END], [B], [A, END]],
        [[A, END], [END, C], [B, END, END], [A]],
    ],
)
def test_classes_are_read_as_fairseq_reads_them(tmp_path, rows, impl):
    write(tmp_path, "train", rows, impl)
    assert read(tmp_path).tolist() == [0, 2, 1, 0]


def test_files_of_both_kinds_are_combined(tmp_path):
    write(tmp_path, "train", [[A], [C]])
    write(tmp_path, "train1", [[B, END], [A, END], [C, END]])
    assert read(tmp_path, combine=True).tolist() == [0, 2, 1, 0, 2]


@pytest.mark.parametrize(
    "rows, example, count",
    [
        ([[A, END], [B, C, END], [A, END]], 1, 2),
        ([[A], [B], [B, C]], 2, 2),
        ([[A], [END], [B]], 1, 0),
        ([[A, END], [END], [B, END]], 1, 0),
        ([[A, END, B], [C]], 0, 2),
    ],
)
def test_more_or_less_than_one_label_is_refused(tmp_path, rows, example, count):
    write(tmp_path, "train", rows)
    with pytest.raises(ValueError, match=f"example {example} has {count} labels"):
        read(tmp_path)


def test_targets_of_batches_are_the_classes_in_the_file(tmp_path, data):
    labels = Dictionary.load(str(data / "label" / "dict.txt"))
    rng = np.random.RandomState(0)
    classes, ends = rng.randint(2, size=101), rng.randint(2, size=101)
    rows = [[labels.nspecial + c] + [END] * e for c, e in zip(classes, ends)]
    write(data, "train", rows)
    write(data, "valid", rows[:37])
    flags = toy.train_flags(data, tmp_path / "out", "--tmkd-weight", 0, "--max-epoch", 1)
    parts = [part for _, batch in batches_of(flags) for part in (batch, batch["partner"])]
    pairs = (zip(part["id"].tolist(), part["target"].flatten().tolist()) for part in parts)
    assert {pair for of_part in pairs for pair in of_part} == {*enumerate(classes.tolist())}


def test_separators_are_looked_for_again_only_in_a_split_that_changed(tmp_path, monkeypatch):
    """A run asks for its student and for each of its teachers."""
    good = [[A, END], [B, C, END]]
    for split in ("train", "valid"):
        write(tmp_path, split, good, column="input0")
    reads, read = [], labels._read
    monkeypatch.setattr(
        labels, "_read", lambda path, *rest: reads.append(path) or read(path, *rest)
    )
    for _ in range(2):
        check_separators(str(tmp_path), CLASSES)
    assert reads == [str(tmp_path / "input0" / split) for split in ("train", "valid")]
    write(tmp_path, "valid", [*good, [A, END, B, END]], column="input0")
    for _ in range(2):  # what was refused is refused again
        with pytest.raises(ValueError, match="valid: example 2 must have one </s>.* got 2"):
            check_separators(str(tmp_path), CLASSES)
    assert reads[2:] == [str(tmp_path / "input0" / "valid")] * 2


@pytest.mark.parametrize("pairs", [False, True])
def test_single_texts_that_spell_separators_have_another_cure(tmp_path, pairs):
    """An import with one token type gives transformers' logits of them, but not of pairs."""
    write(tmp_path, "train", [[A, END, B, END]], column="input0")
    if pairs:
        write(tmp_path, "train", [[A, END]], column="input1")
    with pytest.raises(ValueError, match="must have one </s>") as error:
        check_separators(str(tmp_path), CLASSES)
    assert ("--one-token-type" in str(error.value)) != pairs
