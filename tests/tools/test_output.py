"""Work folders: gone at the end, however it comes; those of killed processes at the next start."""

import errno
import os
import signal
import socket

import pytest

from mixkd_plugin.tools.cli import _end_on_signals
from mixkd_plugin.tools.output import (
    atomic_file,
    atomic_output_dir,
    atomic_write,
    is_full,
    why_full,
    work_folder,
)


def left_by_a_killed_process(parent):
    """A work folder whose process was killed in the middle of its work."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        with work_folder(str(parent), ".work-") as folder:
            with open(os.path.join(folder, "half"), "w") as file:
                file.write("written")
            os.write(done, b"x")
            signal.pause()
    os.read(ready, 1)
    (left,) = (path for path in parent.glob(".work-*") if path.is_dir())
    with work_folder(str(parent), ".work-"):
        assert left.is_dir(), "a folder in use was removed"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (left / "half").exists()
    return left


def test_folders_of_killed_processes_are_removed_by_the_next(tmp_path):
    left = left_by_a_killed_process(tmp_path)
    with work_folder(str(tmp_path), ".work-") as folder:
        assert not left.exists()
        assert os.listdir(folder) == [] and os.path.dirname(folder).startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_stay(tmp_path):
    """One without a lock; another prefix; another host's."""
    here = socket.gethostname()
    names = [f".work-{here}-mine", f".other-{here}-x", ".work-elsewhere-y"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
        if "mine" not in name:
            (tmp_path / f"{name}.lock").touch()
    before = sorted(tmp_path.rglob("*"))
    with work_folder(str(tmp_path), ".work-"):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    file = tmp_path / "a"
    atomic_write(file, "old")
    with pytest.raises(KeyboardInterrupt), atomic_file(file) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and [*tmp_path.iterdir()] == [file]


def test_a_full_disk_is_known_by_the_errors_of_the_libraries():
    """With the system's words, also where torch has hidden them."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    hidden = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
    chained = RuntimeError("PytorchStreamWriter failed writing file")
    chained.__context__ = OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    for error, number in ((full, errno.ENOSPC), (hidden, errno.ENOSPC), (chained, errno.EFBIG)):
        assert is_full(error) and os.strerror(number) in why_full(error)
    assert not is_full(OSError(errno.EACCES, "x")) and not is_full(RuntimeError("x"))


@pytest.fixture
def handlers():
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_the_output_as_it_was(tmp_path, handlers, number):
    out = tmp_path / "new" / "out"
    _end_on_signals("name")
    with pytest.raises(SystemExit) as error, atomic_output_dir(str(out), ["a"], False) as work:
        open(os.path.join(work, "a"), "w").close()
        os.kill(os.getpid(), number)
    assert error.value.code == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_hangup_stays_ignored(tmp_path, handlers):
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _end_on_signals("name")
    with atomic_output_dir(str(tmp_path), ["a"], False) as work:
        os.kill(os.getpid(), signal.SIGHUP)
        open(os.path.join(work, "a"), "w").close()
    assert os.listdir(tmp_path) == ["a"]
