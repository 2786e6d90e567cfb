"""Processes that need no start-up: forks of one that has imported fairseq and the plugin.

``python -m forked`` reads lines of JSON, each a list of commands ``[module, *arguments]`` that run
at the same time as ``python -m module arguments`` would, and answers each with a line of JSON: for
every command its exit code and what it printed.
"""

import atexit
import functools
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Callable, List, NoReturn, Sequence, Tuple


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


def _become(module: str, arguments: Sequence[str], output: int) -> NoReturn:
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
            _become(module, arguments, file.fileno())
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
def _server() -> subprocess.Popen:
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
    helpers = Path(__file__).resolve().parent
    root = helpers.parents[1]
    environment["PYTHONPATH"] = os.pathsep.join([str(helpers), str(root)])
    server = subprocess.Popen(
        [sys.executable, "-m", "forked"], env=environment, text=True, cwd=root,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    atexit.register(server.kill)
    return server


def run(*commands: Sequence, seconds: float = 120) -> List[Tuple[int, str]]:
    """Run ``(module, *arguments)`` together; (exit code, output) of each, -9 if it took longer."""
    server = _server()
    request = {"commands": [[str(a) for a in c] for c in commands], "seconds": seconds}
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return [tuple(result) for result in json.loads(server.stdout.readline())]


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what imports print is no answer

    import fairseq_cli.train  # noqa: F401  (first: it sets the log up)
    import fairseq_cli.validate  # noqa: F401
    import inprocess
    import toy

    import mixkd_plugin  # noqa: F401

    inprocess.dataclass_utils.compose = inprocess.compose
    for task in ("mixkd_sentence_prediction", "sentence_prediction"):  # composed before they fork
        inprocess.training_config(toy.train_flags("data", "save_dir", task=task))

    for line in sys.stdin:
        answers.write(json.dumps(_run(**json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
