"""An environment whose commands need no start-up: forks of one process that has imported fairseq.

``python -m quick_venv FOLDER`` serves the commands of ``FOLDER/bin``. They take arguments, folder,
environment and streams from who calls them, and give back the exit code; a signal goes on to the
fork.
"""

import contextlib
import json
import os
import runpy
import signal
import socket
import sys
import time
import warnings
from pathlib import Path

from forked import end_as, spawn

MODULES = {  # of the commands beside python
    **{f"fairseq-{name.replace('_', '-')}": f"fairseq_cli.{name}"
       for name in ("train", "generate", "preprocess", "validate", "hydra_train")},
    "mixkd": "mixkd_plugin",
    "torchrun": "torch.distributed.run",
}  # fmt: skip
COMMAND = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect("{address}")
request = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [request], [0, 1, 2])
pid = int(server.recv(99))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
sys.exit(int(server.recv(99)))
"""


@contextlib.contextmanager
def served(folder: Path):
    """``folder`` while it is an environment."""
    (folder / "bin").mkdir()
    for name in ("python", *MODULES):
        file = folder / "bin" / name
        file.write_text(COMMAND.format(python=sys.executable, address=folder / "server"))
        file.chmod(0o755)
    pid = spawn("quick_venv", str(folder))
    deadline = time.monotonic() + 120
    while not (folder / "server").exists():
        assert time.monotonic() < deadline, "quick_venv does not start"
        time.sleep(0.05)
    yield folder
    os.kill(pid, signal.SIGKILL)


def _run(start: str, *words: str) -> None:
    """What ``start words`` does: a command of fairseq, or python with a module, text or file."""
    name = os.path.basename(start)
    if name != "python":
        words = ("-m", MODULES[name], *words)
    sys.executable = os.path.join(os.path.dirname(os.path.abspath(start)), "python")
    kind, *rest = words
    sys.argv = [kind, *rest] if kind not in ("-m", "-c") else rest
    sys.path.insert(0, os.getcwd() if kind in ("-m", "-c") else os.path.dirname(kind))
    if kind == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(rest[0], {"__name__": "__main__"})
    else:
        runpy.run_path(kind, run_name="__main__")


def _become(request: bytes, streams) -> None:
    arguments, folder, environment = json.loads(request)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if os.path.islink("mixkd_plugin"):  # the same package: --user-dir mixkd_plugin
        mixkd_plugin.__path__.append(os.path.abspath("mixkd_plugin"))
    end_as(lambda: _run(*arguments))


def _answer(client: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, *_ = socket.recv_fds(client, 1 << 20, 3)
    pid = os.fork()
    if pid == 0:
        _become(request, streams)
    client.send(str(pid).encode())
    client.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


if __name__ == "__main__":
    import fairseq_cli.train  # noqa: F401, I001  (first: it sets the log up)
    import matplotlib.pyplot  # noqa: F401
    import mixkd_plugin.tools.compare.compare
    import mixkd_plugin.tools.encode.encode
    import mixkd_plugin.tools.import_hf.import_hf
    import mixkd_plugin.tools.study.study  # noqa: F401

    warnings.simplefilter("ignore", RuntimeWarning)  # that a module was imported before
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{sys.argv[1]}/server")
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # else they would stay
    while True:
        accepted, _ = listener.accept()
        if os.fork() == 0:
            _answer(accepted)
        accepted.close()
