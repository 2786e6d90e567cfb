"""Teacher logits on disk belong to files and code as they were when the logits were computed."""

import os

import numpy as np
import pytest
from refusals import accepts
from taught import run

from mixkd_plugin.teacher import build
from mixkd_plugin.teacher.disk_cache import LogitsCache
from mixkd_plugin.teacher.files import TeacherFiles

SHAPE = (5, 2, 3)
OUTPUTS = np.random.RandomState(0).rand(*SHAPE).astype(np.float32)


@pytest.mark.parametrize(
    "later", [{"theirs": "1", "late": "2"}, {"theirs": "3"}, ValueError("gone")]
)
def test_answers_of_code_that_has_changed_are_not_kept(tmp_path, classification, caplog, later):
    """Edited since it was imported, or imported after the name of the answers was known."""
    states = [{"theirs": "1"}, {"theirs": "1"}, later]

    def code():
        now = states.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    cache = LogitsCache(str(tmp_path / "cache"), ["teacher"], {}, str(classification), code)
    cache.make_folder()
    cache.store("train", "rows", OUTPUTS)
    cache.store("train", "others", OUTPUTS)
    (said,) = caplog.records
    assert (
        "was not written: " in said.getMessage() and cache.load("train", "rows", SHAPE) is not None
    )
    assert len(os.listdir(cache._folder)) == 1


def same_size_and_time(path, content):
    """Another file in its place, as a copy of another model may be."""
    status = os.stat(path)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(path)[6:9:2] == status[6:9:2]


def test_a_teacher_is_known_by_its_content(tmp_path):
    path = tmp_path / "teacher.pt"
    path.write_bytes(b"\x80one")  # it begins as a pickle
    files = TeacherFiles([str(path)], "run")
    os.utime(path)
    (tmp_path / "other").hardlink_to(path)
    files.check_unchanged()
    same_size_and_time(path, b"\x80two")
    with pytest.raises(ValueError, match="--teacher-path: .*teacher.pt has changed"):
        files.check_unchanged()


def test_a_teacher_exchanged_while_it_is_loaded(tmp_path, classification, teacher, monkeypatch):
    """Its answers would be kept as the other's."""
    path = tmp_path / "teacher.pt"
    path.write_bytes(teacher.read_bytes())
    load = build.load_teacher

    def exchange_and_load(*args):
        loaded = load(*args)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        same_size_and_time(path, bytes(content))
        return loaded

    monkeypatch.setattr(build, "load_teacher", exchange_and_load)
    with pytest.raises(ValueError, match="--teacher-path: .*teacher.pt has changed"):
        run(classification, tmp_path / "s", path, "--teacher-cache", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_models_without_a_file_have_no_cache(tmp_path, classification, teacher, monkeypatch):
    """Such as of a notebook: nothing would tell their versions apart."""
    monkeypatch.setattr(build, "digests_of_code", lambda *_: {"__main__": ""})
    flags = ["--kd-weight", 1, "--teacher-path", teacher]
    with pytest.raises(
        ValueError, match="--teacher-cache .*cache: module __main__ must have a file"
    ):
        run(classification, tmp_path / "s", teacher, "--teacher-cache", tmp_path / "cache")
    accepts(classification, tmp_path / "s", *flags)
