"""Processes that need no start-up: forks of this one, which has imported fairseq and the plugin.

:func:`start` forks a server, which keeps what was imported, but not what modules of tests register
or change later. It reads lines of JSON, each a list of commands ``[module, *arguments]`` that run
at the same time as ``python -m module arguments`` would, and answers each with a line of JSON: for
every command its exit code and what it printed.
"""

import atexit
import functools
import json
import logging
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Callable, List, NoReturn, Sequence, TextIO, Tuple

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parents[1]


def end_as(work: Callable[[], object]) -> NoReturn:
    """Do the work of a command, and end this process as Python would."""
    code = 0
    try:
        work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become(module: str, *arguments: str, output: int) -> NoReturn:
    """Run a command in this fork."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [module, *arguments]
    end_as(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))


def _run(commands: Sequence[Sequence[str]], seconds: float) -> List[Tuple[int, str]]:
    started = []
    for module, *arguments in commands:
        file = tempfile.TemporaryFile()  # noqa: SIM115
        pid = os.fork()
        if pid == 0:
            _become(module, *arguments, output=file.fileno())
        started.append((pid, file))
    codes = {}
    deadline = time.monotonic() + seconds
    while len(codes) < len(started):
        for pid, _ in started:
            if pid not in codes:
                if time.monotonic() > deadline:
                    os.kill(pid, 9)
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    killed = os.WIFSIGNALED(status)
                    codes[pid] = -os.WTERMSIG(status) if killed else os.WEXITSTATUS(status)
        time.sleep(0.01)
    results = []
    for pid, file in started:
        file.seek(0)
        results.append((codes[pid], file.read().decode(errors="replace")))
        file.close()
    return results


@functools.cache
def start() -> TextIO:
    """Fork the server, unless it is there; lines for it and from it."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        end_as(lambda: _serve(theirs.makefile("rw")))
    theirs.close()
    atexit.register(os.kill, pid, signal.SIGKILL)
    return ours.makefile("rw")


def _ask(**request):
    server = start()
    server.write(json.dumps(request) + "\n")
    server.flush()
    return json.loads(server.readline())


def run(*commands: Sequence, seconds: float = 120) -> List[Tuple[int, str]]:
    """Run ``(module, *arguments)`` together; (exit code, output) of each, -9 if it took longer."""
    results = _ask(commands=[[str(a) for a in c] for c in commands], seconds=seconds)
    return [tuple(result) for result in results]


def spawn(*command: str) -> int:
    """Begin ``(module, *arguments)``, whose output nobody reads; its process."""
    return _ask(command=command)


def _become_fresh() -> None:
    """Leave behind what pytest set in this process, and what came before the first import."""
    os.chdir(ROOT)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HELPERS), str(ROOT)])
    sys.path[:] = [p for p in sys.path if not p.startswith(str(ROOT / "examples"))]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, buffering=1, closefd=False) for number, mode in enumerate("rww")
    )
    logging.root.handlers.clear()
    logging.basicConfig(  # as fairseq's commands do when they are imported
        format="%(asctime)s | %(levelname)s | %(name)s | %(message)s", level=logging.INFO,
        datefmt="%Y-%m-%d %H:%M:%S", stream=sys.stdout,
    )  # fmt: skip


def _serve(connection: TextIO) -> None:
    _become_fresh()
    import fairseq_cli.train  # noqa: F401
    import fairseq_cli.validate  # noqa: F401
    import inprocess
    import torch
    import toy

    import mixkd_plugin  # noqa: F401

    torch.set_num_threads(1)
    inprocess.dataclass_utils.compose = inprocess.compose
    for task in ("mixkd_sentence_prediction", "sentence_prediction"):  # composed before they fork
        inprocess.training_config(toy.train_flags("data", "save_dir", task=task))

    for line in connection:
        request = json.loads(line)
        if "command" in request:
            answer = os.fork()
            if answer == 0:
                _become(*request["command"], output=os.open(os.devnull, os.O_WRONLY))
        else:
            answer = _run(**request)
        connection.write(json.dumps(answer) + "\n")
        connection.flush()
