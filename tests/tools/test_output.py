"""Work folders: gone at the end, however it comes; those of killed processes at the next start."""

import os
import signal
import socket
import time

import pytest

from mixkd_plugin.tools.output import A_DAY, OWNER, atomic_output_dir, work_folder


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
    (left,) = parent.glob(".work-*")
    with work_folder(str(parent), ".work-"):
        assert left.is_dir(), "a folder in use was removed"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (left / "content" / "half").exists()
    return left


def test_folders_of_killed_processes_are_removed_by_the_next(tmp_path):
    left = left_by_a_killed_process(tmp_path)
    with work_folder(str(tmp_path), ".work-") as folder:
        assert not left.exists()
        assert os.listdir(folder) == [] and os.path.dirname(folder).startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_stay(tmp_path):
    """One without a lock; another prefix; another host's, but for one that is a day old."""
    names = [".work-mine", ".work-elsewhere", ".work-long_ago", ".other-x"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
        if name != ".work-mine":
            (tmp_path / name / OWNER).write_text("elsewhere")
    (tmp_path / ".other-x" / OWNER).write_text(socket.gethostname())
    (tmp_path / ".work-link").symlink_to(tmp_path / ".other-x")
    for name in ("file", OWNER):
        before = time.time() - A_DAY - 1
        os.utime(tmp_path / ".work-long_ago" / name, (before, before))
    with work_folder(str(tmp_path), ".work-"):
        pass
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted({*names, ".work-link"} - {".work-long_ago"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_the_output_as_it_was(tmp_path, number):
    out = tmp_path / "new" / "out"
    with pytest.raises(SystemExit) as error, atomic_output_dir(str(out), ["a"], False) as work:
        open(os.path.join(work, "a"), "w").close()
        os.kill(os.getpid(), number)
    assert error.value.code == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_hangup_stays_ignored(tmp_path):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with atomic_output_dir(str(tmp_path), ["a"], False) as work:
            os.kill(os.getpid(), signal.SIGHUP)
            open(os.path.join(work, "a"), "w").close()
    finally:
        assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN
    assert os.listdir(tmp_path) == ["a"]
