"""Files of a data folder that are missing or damaged: one sentence that names where."""

import os

import forked
import pytest
import toy
from refusals import FINE_TUNE, refusal
from slow_cases import slow


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def junk(path):
    path.write_bytes(b"\xff\xfe\x00junk" * 50)


def empty(path):
    path.write_bytes(b"")


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, *slow(junk, empty, folder)])
@pytest.mark.parametrize("name", ["input0/valid.idx", "input0/valid.bin", "label/valid.idx"])
def test_damaged_splits(tmp_path, data, name, damage):
    damage(data / name)
    assert str(data) in refusal(data, tmp_path / "out", *FINE_TUNE)


@pytest.mark.parametrize("missing", ["valid.idx", "valid.bin"])
def test_a_split_without_its_second_texts_is_refused(tmp_path, pairs, missing):
    data = toy.copy_data(pairs.data, tmp_path / "data")
    os.remove(data / "input1" / missing)
    flags = ["--num-classes", 1, "--regression-target", "--separator-token", 2, *FINE_TUNE]
    assert "second text" in refusal(data, tmp_path / "out", *flags)


def large_tokens(path):
    path.write_bytes(b"\xff" * path.stat().st_size)


def test_tokens_of_another_dictionary(tmp_path, data):
    large_tokens(data / "input0" / "valid.bin")
    message = refusal(data, tmp_path / "out", *FINE_TUNE)
    assert f"{data}/input0/valid.bin must have tokens 0 to " in message


@pytest.mark.parametrize("name, damage", [("valid.idx", cut), ("valid.bin", large_tokens)])
def test_compare_prints_one_line(tmp_path, data, teacher, name, damage):
    damage(data / "input0" / name)
    command = ["mixkd_plugin.tools.compare", data, f"a={teacher}", "--out", tmp_path / "out"]
    ((code, log),) = forked.run(command)
    assert code == 1 and len(log.splitlines()) == 1, log
