"""`mixkd distil`, killed with SIGKILL at each of its steps: FOLDER FLAGS...

Runs it with --out FOLDER/straight and no kill. Then it runs it with --out FOLDER/killed again and
again, until an attempt comes to its end: each is killed as it is about to write, move or remove a
file that no earlier attempt got to. A file that was to be written is empty then, as after a kill in
the middle of the write. Temporary files and folders do not count: before they are moved. Prints a
line of JSON for each kill: what was to be done, and to which file of --out.

fairseq is imported once, and each attempt is a fork, in a process group of its own; so are its runs
of `fairseq-train`.
"""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fairseq_cli.train  # first: it sets the log up
import forked
import torch

import mixkd_plugin  # noqa: F401
from mixkd_plugin.interop import library
from mixkd_plugin.tools import cli
from mixkd_plugin.tools.distil import command, distil, steps  # noqa: F401
from mixkd_plugin.tools.export import export  # noqa: F401

WRITES = os.O_WRONLY | os.O_RDWR
TEMPORARY = re.compile(r"(^|/)\.|\.(tmp|unfinished|lock)$|/dummy$")
SAME = re.compile(r"[0-9a-f]{32}|(?<=serving/exports/)[^/]+")  # names that need one kill for all


class Training:
    """What `distil` uses of a subprocess.Popen; a fork that runs `fairseq-train`."""

    def __init__(self, words, stdout, env, **_):
        self.returncode, self.pid = None, os.fork()
        if not self.pid:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stdout.fileno(), 2)
            os.environ.update(env)
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


def watch(out: Path, seen: set, found: Path):
    """Kill the process group at the first change of a file below ``out`` that is not in ``seen``.

    ``found`` gets what it was.
    """

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
        if TEMPORARY.search(name) or key in seen:
            return
        seen.add(key)  # what follows is an event, too
        if event == "open":
            with contextlib.suppress(OSError):
                os.close(os.open(path, flags | os.O_CREAT, 0o666))
        found.write_text(json.dumps(key))
        os.killpg(0, signal.SIGKILL)
        signal.pause()

    sys.addaudithook(hook)


def attempt(flags, out: Path, log: Path, seen=None):
    """What it was killed at; None if it came to its end."""
    found = log.with_name("found")
    found.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        steps.subprocess = SimpleNamespace(Popen=Training, STDOUT=subprocess.STDOUT)
        if seen is not None:
            watch(out, seen, found)
        cli.become_command("distil")
        forked.end_as(lambda: command.main([*flags, "--out", str(out)]))
    status = os.waitpid(pid, 0)[1]
    if found.exists():
        return tuple(json.loads(found.read_text()))
    if status:
        raise SystemExit(f"{log.read_text()}\nan attempt failed with status {status}")
    return None


def main(folder: Path, flags) -> None:
    transformers = library("transformers")
    for name in ("BertForSequenceClassification", "AutoTokenizer"):
        getattr(transformers, name)
    library("onnxruntime")
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports for 2 seconds
    log, seen = folder / "log", set()
    attempt(flags, folder / "straight", log)
    print(log.read_text(), flush=True)
    while (key := attempt(flags, folder / "killed", log, seen)) is not None:
        assert key not in seen
        seen.add(key)
        print(json.dumps(key), flush=True)
    print(log.read_text(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
