"""`mixkd distil`, ended at its steps: kills|ends FOLDER FLAGS...

kills: runs it with --out FOLDER/straight and no kill. Then it runs it with --out FOLDER/killed
again and again, until an attempt comes to its end: each is killed as it is about to write, move or
remove a file that no earlier attempt got to. A file that was to be written is empty then, as after
a kill in the middle of the write. Temporary files and folders do not count before they are moved.
Prints a line of JSON for each kill: what was to be done, and to which file of --out.

ends: runs it with --out FOLDER/out again and again. Each time it ends by one of ENDS, the last time
by itself. Prints a line of JSON each time: the cause, the exit code, and what it printed.

fairseq is imported once, and each attempt is a fork, in a process group of its own; so are its runs
of `fairseq-train`.
"""

import contextlib
import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import fairseq_cli.train  # first: it sets the log up
import forked
import torch

import mixkd_plugin  # noqa: F401
from mixkd_plugin.fairseq_fixes import atomic_save
from mixkd_plugin.interop import library
from mixkd_plugin.tools import cli
from mixkd_plugin.tools.distil import command, distil, steps  # noqa: F401
from mixkd_plugin.tools.export import export  # noqa: F401

WRITES = os.O_WRONLY | os.O_RDWR
TEMPORARY = re.compile(r"(^|/)\.|\.(tmp|unfinished|lock)$|/dummy$")
ENDS = (  # a signal at a step, or the size of a file, in bytes, that cannot be written
    1_000, 50_000, (signal.SIGTERM, "work/logs/data.log"),
    (signal.SIGINT, "work/runs/kd-1/checkpoint_last.pt"), 200_000,
    (signal.SIGINT, "work/exports/hf/model.safetensors"), 60_000,
    (signal.SIGTERM, "work/serving/serving.json"), 80_000,
)  # fmt: skip
SAME = re.compile(r"[0-9a-f]{32}|(?<=serving/exports/)[^/]+")  # parts of names: one kill for all


class Training:
    """What `distil` uses of a subprocess.Popen; a fork that runs `fairseq-train`."""

    def __init__(self, words, stdout, env, **_):
        self.returncode, self.pid = None, os.fork()
        if not self.pid:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stdout.fileno(), 2)
            os.environ.update(env)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            logging.basicConfig(
                format="| %(levelname)s | %(name)s | %(message)s", stream=sys.stdout,
                level=logging.INFO, force=True,
            )  # fmt: skip
            for name in cli.LIBRARIES[1:]:
                logging.getLogger(name).setLevel(logging.NOTSET)
            sys.argv = ["fairseq-train", *words[3:]]
            forked.end_as(fairseq_cli.train.cli_main)

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def wait(self):
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def watch(out: Path, wanted: Callable[[tuple], bool], found: Path, number: int):
    """Send a signal at the first change of a file below ``out`` that is ``wanted``.

    ``found`` gets what it was. SIGKILL is for the process group, others for its first process.
    """
    first, done = os.getpid(), []

    def hook(event, arguments):
        if event == "open":
            path, _, flags = arguments
            changes = flags & WRITES
        elif event == "os.rename":
            path, changes = arguments[1], True
        else:
            changes = event == "os.remove" and os.path.lexists(path := arguments[0])
        if not (changes and isinstance(path, str) and path.startswith(f"{out}{os.sep}")):
            return
        name = os.path.relpath(path, out)
        key = (event, SAME.sub("*", name))
        if done or TEMPORARY.search(name) or not wanted(key):
            return
        done.append(key)  # what follows is an event, too
        if event == "open" and number == signal.SIGKILL:
            with contextlib.suppress(OSError):
                os.close(os.open(path, flags | os.O_CREAT, 0o666))
        found.write_text(json.dumps(key))
        if number == signal.SIGKILL:
            os.killpg(0, number)
        os.kill(first, number)
        if os.getpid() != first:
            signal.pause()

    sys.addaudithook(hook)


def attempt(
    flags, out: Path, log: Path, wanted=lambda _: False, number=signal.SIGKILL, largest=None
):
    """What it was killed at, and its exit code.

    Args:
        largest: bytes that a file may have
    """
    found = log.with_name("found")
    found.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        steps.subprocess = SimpleNamespace(Popen=Training, STDOUT=subprocess.STDOUT)
        watch(out, wanted, found, number)
        if largest:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
        cli.become_command("distil")
        forked.end_as(lambda: command.main([*flags, "--out", str(out)]))
    status = os.waitpid(pid, 0)[1]
    key = tuple(json.loads(found.read_text())) if found.exists() else None
    return key, os.waitstatus_to_exitcode(status)


def kills(folder: Path, flags) -> None:
    log, seen = folder / "log", set()
    assert attempt(flags, folder / "straight", log) == (None, 0), log.read_text()
    key = ("", "")
    while key is not None:
        key, code = attempt(flags, folder / "killed", log, lambda key: key not in seen)
        assert key or code == 0, log.read_text()
        seen.add(key)
        print(json.dumps(key), flush=True)


def ends(folder: Path, flags) -> None:
    log, out = folder / "log", folder / "out"
    for cause in (*ENDS, None):
        more = {"largest": cause}
        if isinstance(cause, tuple):
            more = {"number": cause[0], "wanted": lambda key, name=cause[1]: key[1] == name}
        _, code = attempt(flags, out, log, **more)
        print(json.dumps([cause, code, log.read_text()]), flush=True)


def main(work: str, folder: str, *flags) -> None:
    transformers = library("transformers")
    for name in ("BertForSequenceClassification", "AutoTokenizer"):
        getattr(transformers, name)
    library("onnxruntime")
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports for 2 seconds
    atomic_save.PAUSES = (0, 0)
    {"kills": kills, "ends": ends}[work](Path(folder), flags)


if __name__ == "__main__":
    main(*sys.argv[1:])
