"""Which files are a split's: what answers of a teacher and runs are told apart by."""

import shutil

import numpy as np
import pytest
import toy
from ranks import refusals as refusals_of_two
from refusals import FINE_TUNE

from mixkd_plugin.fingerprints import digests_of_split, files_of_split
from mixkd_plugin.teacher.disk_cache import LogitsCache

LOOK_ALIKES = [
    "train_noisy.bin", "train_noisy.idx", "trainer.bin", "train-old.bin", "train01.bin",
    "train01.idx", "train.bin.bak", "train.txt", "train.log", "train2.bin", "train2.idx",
    "xtrain.bin",
]  # fmt: skip


@pytest.fixture
def data(tmp_path, classification):
    """train, train1 and, beyond the gap, train3."""
    data = toy.copy_data(classification, tmp_path / "data")
    for column in ("input0", "label"):
        for suffix in ("bin", "idx"):
            for part in ("train1", "train3"):
                shutil.copy(data / column / f"train.{suffix}", data / column / f"{part}.{suffix}")
    return data


def names(paths):
    return [path.split("/")[-1] for path in paths]


@pytest.mark.parametrize("combine", [False, True])
def test_the_files_that_fairseq_reads(data, combine):
    parts = ["train", "train1"] if combine else ["train"]
    expected = [f"{part}.{suffix}" for part in parts for suffix in ("bin", "idx")]
    for name in set(LOOK_ALIKES) - {"train2.bin", "train2.idx"}:
        (data / "input0" / name).write_bytes(b"x")
    assert names(files_of_split(str(data), "train", combine)) == expected
    digests = digests_of_split({"the data": str(data)}, "train", combine)
    assert list(digests) == [
        f"{column}/{name} of the data" for column in ("input0", "label") for name in expected
    ]


def test_a_part_that_closes_a_gap_joins_what_comes_after_it(data):
    for suffix in ("bin", "idx"):
        (data / "input0" / f"train2.{suffix}").write_bytes(b"x")
    found = files_of_split(str(data), "train", True)
    assert names(found)[::2] == ["train.bin", "train1.bin", "train2.bin", "train3.bin"]


def test_labels_of_a_regression_are_compared(regression):
    digests = digests_of_split({"the data": str(regression)}, "train", True)
    assert "label/train.label of the data" in digests and "label/valid.label" not in str(digests)


@pytest.mark.parametrize(
    "name, combine, stays",
    [(name, combine, True) for name in LOOK_ALIKES[:-3] for combine in (False, True)]
    + [("train1.bin", False, True), ("train1.bin", True, False), ("train.bin", False, False)],
)
def test_answers_are_kept_by_the_split_alone(tmp_path, data, name, combine, stays):
    outputs = np.ones((2, 1, 2), dtype=np.float32)

    def cache():
        return LogitsCache(str(tmp_path / "cache"), ["teacher"], {}, str(data))

    cache().make_folder()
    cache().store("train", "rows", outputs, combine)
    (data / "input0" / name).write_bytes(b"other")
    assert (cache().load("train", "rows", outputs.shape, combine) is not None) == stays


def test_processes_may_differ_in_files_that_nobody_reads(tmp_path, classification):
    """What is refused is the other label, not the other noise."""
    data = toy.copy_data(classification, tmp_path / "other")
    for name in LOOK_ALIKES:
        (data / "input0" / name).write_bytes(b"noise")
    (data / "raw" / "train.text").write_text("x")
    (data / "label" / "valid.bin").write_bytes(b"".join(reversed_pairs(data)))
    for said in refusals_of_two(tmp_path, classification, FINE_TUNE, other_data=data):
        assert said.startswith("label/valid.bin of the data must be the same on every rank")


def reversed_pairs(data):
    """The labels of the validation split in another order."""
    content = (data / "label" / "valid.bin").read_bytes()
    width = len(content) // 37
    return [content[i : i + width] for i in range(0, len(content), width)][::-1]
