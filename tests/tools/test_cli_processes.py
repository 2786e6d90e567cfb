"""How commands end as processes of their own."""

import signal
import subprocess
import textwrap
from functools import partial

import forked
import pytest
import toy

from mixkd_plugin.__main__ import COMMANDS

MODULES = [f"mixkd_plugin.tools.{tool}" for tool, _ in COMMANDS.values()]


@pytest.mark.slow
def test_usage():
    commands = [(module, word) for module in MODULES for word in ("--help", "--unknown")]
    ends = forked.run(*commands)
    assert [code for code, _ in ends] == [0, 2] * len(MODULES)
    assert all(said.startswith("usage: mixkd ") for _, said in ends)


@pytest.mark.slow
def test_an_error_is_all_that_is_printed(tmp_path, classification):
    arguments = ["none", "a=b", "--out", tmp_path / "out"]
    ends = toy.run_together(
        ("mixkd_plugin.tools.compare", *arguments), ("mixkd_plugin", "compare", *arguments),
        check=False,
    )  # fmt: skip
    sentence = "compare: DATA_DIR none: none/input0/dict.txt does not exist\n"
    assert ends == [(1, sentence), (1, sentence)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_command_that_is_told_to_end(tmp_path, number, code):
    (tmp_path / "waiting.py").write_text(textwrap.dedent(WAITING))
    command = toy.command_of("waiting", [tmp_path / "held"])
    default = partial(signal.signal, number, signal.SIG_DFL)  # else it may be ignored, as by nohup
    process = subprocess.Popen(cwd=tmp_path, preexec_fn=default, **command)
    for line in process.stdout:
        if line == "ready\n":
            break
    process.send_signal(number)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == code, log
    assert log.splitlines()[-1] == f"waiting: ended by {number.name}"
    assert "Traceback" not in log and not (tmp_path / "held").exists()


WAITING = """
    import argparse, os, time
    from mixkd_plugin.tools.cli import run_cli

    def parser():
        parser = argparse.ArgumentParser()
        parser.add_argument("held")
        return parser

    def work(args):
        open(args.held, "w").close()
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            os.remove(args.held)

    run_cli("waiting", parser, work)
"""
