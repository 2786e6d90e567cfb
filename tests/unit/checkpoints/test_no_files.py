"""Paths that are no files, or hold nothing: refused without a look inside."""

import os
import socket

import pytest
import toy
from refusals import KD, refusal, refused_at_once
from taught import with_settings

from mixkd_plugin import fingerprints
from mixkd_plugin.checkpoints import checks


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_sparse(path):
    with open(path, "wb") as file:
        file.truncate(200 * 10**9)


NO_FILES = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": os.mkdir,
    "dangling link": lambda path: path.symlink_to(path.parent / "nowhere"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", [*NO_FILES, "sparse"])
def test_what_is_no_file_is_not_opened(tmp_path, classification, teacher, kind):
    path = tmp_path / "x.pt"
    ({**NO_FILES, "sparse": make_sparse}[kind])(path)
    refused_at_once(path)
    if kind != "sparse":
        refused_at_once(path, fingerprints.digest_of_file)
    flags = [*KD, "--teacher-path", path]
    assert str(path) in refusal(classification, tmp_path / "s", *flags)
    flags = [*KD, "--teacher-path", teacher, "--student-init-path", path]
    assert str(path) in refusal(classification, tmp_path / "s", *flags)


def test_a_dictionary_that_is_none_costs_nothing(tmp_path, classification, teacher):
    theirs = toy.copy_data(classification, tmp_path / "theirs")
    (theirs / "input0" / "dict.txt").unlink()
    make_sparse(theirs / "input0" / "dict.txt")
    path = with_settings(tmp_path / "t.pt", teacher, "task", data=str(theirs))
    flags = [*KD, "--teacher-path", path]
    assert "too large" in refusal(classification, tmp_path / "s", *flags)
    with pytest.raises(ValueError, match="dict.txt.*too large"):
        checks.check_dictionaries("DATA_DIR", str(theirs), regression=True)
