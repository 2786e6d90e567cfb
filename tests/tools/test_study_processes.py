"""A study's commands: who may run them, how they are stopped, what a next one finds."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mixkd_plugin.tools import locks
from mixkd_plugin.tools.locks import locked
from mixkd_plugin.tools.study.commands import Commands, JobFailed, begin

MODULE = locks.__file__


def test_a_lock_outlives_its_process_in_the_commands_it_started(tmp_path):
    """As where a study is killed: its training goes on, and nobody else begins the same run."""
    folder, script = tmp_path / "run", "import sys, time; time.sleep(float(sys.argv[1]))"
    with locked(folder) as mine:
        assert mine
        with locked(folder, wait=False) as other:
            assert not other
        holder = subprocess.Popen([sys.executable, "-c", script, "60"], close_fds=False)
    with locked(folder, wait=False) as free_again:  # released in the child as well
        assert free_again
    holder.kill()
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(folder=str(folder), script=script, module=MODULE)],
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(killed.stdout.readline())
    killed.kill()
    killed.wait()
    with locked(folder, wait=False) as mine:
        assert not mine
    os.kill(child, signal.SIGKILL)
    with locked(folder) as mine:
        assert mine


KILLED = """
import runpy, subprocess, sys
from pathlib import Path
locked = runpy.run_path({module!r})["locked"]
with locked(Path({folder!r})):
    child = subprocess.Popen([sys.executable, "-c", {script!r}, "60"], close_fds=False)
    print(child.pid, flush=True)
    child.wait()
"""


def test_a_failed_command_says_how_it_ended(tmp_path):
    command = [sys.executable, "-c", "print('so far'); raise ValueError('no such flag')"]
    with pytest.raises(JobFailed, match="exit 1, .*run.log: .*no such flag"):
        Commands().call("name", command, tmp_path / "run.log")


def test_what_was_stopped_begins_nothing_else(tmp_path):
    """Neither who comes next, nor who waits for a lock; what runs is ended."""
    commands, errors = Commands(), []

    def call(wait_for):
        try:
            with locked(tmp_path / wait_for, check=commands.check):
                script = f"import time; open({str(tmp_path / 'began')!r}, 'a'); time.sleep(60)"
                commands.call("name", [sys.executable, "-c", script], tmp_path / "run.log")
        except BaseException as error:
            errors.append(type(error))

    threads = [threading.Thread(target=call, args=("same",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not (tmp_path / "began").exists():
        time.sleep(0.05)
    (tmp_path / "began").unlink()
    commands.stop()
    call("other")
    for thread in threads:
        thread.join(timeout=20)
    assert errors == [KeyboardInterrupt] * 4
    assert not (tmp_path / "began").exists()


def test_what_fairseq_can_resume_is_kept_and_all_else_begins_anew(tmp_path):
    name = "fairseq-train --lr 1"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.log").write_text(f"{name}\n/a/python -m fairseq_cli.train --lr 1\n")
    (tmp_path / "run" / "checkpoint_last.pt").touch()
    begin(tmp_path / "run", name)
    assert (tmp_path / "run" / "checkpoint_last.pt").exists()
    begin(tmp_path / "run", f"{name} --dropout 0")
    assert not list((tmp_path / "run").iterdir())
    (tmp_path / "run" / "run.log").write_text(f"{name}\n")
    begin(tmp_path / "run", name)  # its checkpoint was removed: the log would count twice
    assert not list((tmp_path / "run").iterdir())
