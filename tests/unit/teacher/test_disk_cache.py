"""Teacher logits on disk: damage is noticed and mended, and killed writers leave nothing."""

import contextlib
import io
import logging
import os
import socket
import subprocess
import time

import numpy as np
import pytest
from same_end import assert_same_end
from taught import run

from mixkd_plugin.teacher import disk_cache
from mixkd_plugin.teacher.disk_cache import LogitsCache

SHAPE = (5, 2, 3)
OUTPUTS = np.random.RandomState(0).rand(*SHAPE).astype(np.float32)


def npz(path):
    content = io.BytesIO()
    np.savez(content, OUTPUTS)
    path.write_bytes(content.getvalue())


def one_bit(at):
    def change(path):
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return change


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere.npy")


def huge_shape(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(5, 2, 3)", b"(5" + b"0" * 5 + b", )"))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "too long": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "a bit of the answers": one_bit(140),
    "a bit of the header": one_bit(20),
    "a bit of the checksum": one_bit(-1),
    "no checksum": lambda path: np.save(path, OUTPUTS),
    "other answers": lambda path: np.save(path, OUTPUTS + 1),
    "another type": lambda path: np.save(path, OUTPUTS.astype(np.float64)),
    "pickle": lambda path: np.save(path, np.array([{}], dtype=object)),
    "npz": npz,
    "broken header": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\xff\xff{{{" + b"0" * 200),
    "huge shape": huge_shape,
    "pipe": fifo,
    "device": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "link to nothing": link_to_nothing,
}


@pytest.fixture
def cache(tmp_path, classification):
    cache = LogitsCache(str(tmp_path / "cache"), ["teacher"], {}, str(classification))
    cache.make_folder()
    return cache


def only_file(cache):
    (name,) = os.listdir(cache._folder)
    return os.path.join(cache._folder, name)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed_said_once_and_mended(tmp_path, cache, caplog, damage):
    cache.store("train", "rows", OUTPUTS)
    (path,) = (tmp_path / "cache").iterdir()
    content = path.read_bytes()
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert cache.load("train", "rows", SHAPE) is None
    assert len(caplog.records) == (path.exists() or path.is_fifo())
    cache.store("train", "rows", OUTPUTS)
    assert path.read_bytes() == content and not path.is_symlink()
    np.testing.assert_array_equal(cache.load("train", "rows", SHAPE), OUTPUTS)


@pytest.mark.parametrize("shape", [(5, 2, 4), (5, 6), (30,), (6, 2, 3)])
def test_another_shape_is_wanted(cache, shape):
    cache.store("train", "rows", OUTPUTS)
    assert cache.load("train", "rows", shape) is None


def test_answers_under_anothers_name(tmp_path, cache):
    cache.store("train", "rows", OUTPUTS)
    (mine,) = (tmp_path / "cache").iterdir()
    cache.store("train", "others", OUTPUTS + 1)
    (others,) = set((tmp_path / "cache").iterdir()) - {mine}
    others.replace(mine)
    assert cache.load("train", "rows", SHAPE) is None


def test_a_folder_in_the_place_of_a_file_does_not_end_the_run(tmp_path, cache, caplog):
    cache.store("train", "rows", OUTPUTS)
    folder(next((tmp_path / "cache").iterdir()))
    assert cache.load("train", "rows", SHAPE) is None
    cache.store("train", "rows", OUTPUTS)
    assert "was not written" in caplog.records[-1].getMessage()


def test_numpy_reads_a_file(tmp_path, cache):
    cache.store("train", "rows", OUTPUTS)
    np.testing.assert_array_equal(np.load(next((tmp_path / "cache").iterdir())), OUTPUTS)


def test_a_run_over_a_damaged_cache_ends_as_over_none(tmp_path, classification, teacher):
    cache = tmp_path / "cache"
    run(classification, tmp_path / "a", teacher, "--teacher-cache", cache)
    whole = {path.name: path.read_bytes() for path in cache.iterdir()}
    kinds = ("other answers", "npz", "broken header", "pipe", "cut off")
    for path, kind in zip(sorted(cache.iterdir()), kinds):
        DAMAGE[kind](path)
    log = run(classification, tmp_path / "b", teacher, "--teacher-cache", cache)
    assert log.count("is computed again") == len(whole) == 5
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == whole
    assert_same_end(tmp_path / "a", tmp_path / "b")


# --- what a killed run leaves ---


@pytest.fixture
def ended():
    """The id of a process that is no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
        return process.pid


@pytest.mark.parametrize(
    "owner, minutes, stays",
    [
        ("0123abcd", 0, False),
        ("0123abcd-{ended}@{here}", 0, False),
        ("0123abcd-{mine}@{here}", 0, True),
        ("0123abcd-{mine}@{here}", 90, False),
        ("0123abcd-{ended}@elsewhere.example", 0, True),
        ("0123abcd-{ended}@elsewhere.example", 90, False),
    ],
)
def test_unfinished_files_without_an_owner_are_removed(
    tmp_path, cache, ended, owner, minutes, stays
):
    owner = owner.format(ended=ended, mine=os.getpid(), here=socket.gethostname())
    path = tmp_path / "cache" / f"train-0f.npy.{owner}.unfinished"
    other = tmp_path / "cache" / "notes.txt"
    for file in (path, other):
        file.write_text("a part")
        os.utime(file, (time.time() - 60 * minutes,) * 2)
    cache.make_folder()
    assert path.exists() == stays and other.exists()


def test_a_writer_that_is_killed_leaves_what_the_next_run_removes(tmp_path, cache, monkeypatch):
    def killed(file, *_, **__):
        file.write(b"a part")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(np, "save", killed)
        patch.setattr(os, "getpid", lambda: 2**22 + 1)  # above what Linux gives
        cache.store("train", "rows", OUTPUTS)
    assert only_file(cache).endswith(".unfinished")
    cache.make_folder()
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_unfinished_files_that_cannot_be_removed_do_not_end_the_run(cache, monkeypatch, error):
    """One of another run that has just moved it into place, or of another user."""

    def fail(*_):
        raise error

    for name in ("train-0f.npy.0123.unfinished", "folder.unfinished"):
        os.mkdir(os.path.join(cache._folder, name))
    cache.make_folder()
    monkeypatch.setattr(disk_cache, "_is_abandoned", fail)
    cache.make_folder()
