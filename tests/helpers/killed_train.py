"""`fairseq-train`, killed with SIGKILL again and again: KILLS SEED FOLDER FLAGS...

Trains FOLDER/straight without a kill, then FOLDER/killed0 until it is done, with kills at random
points, then FOLDER/killed1 and so on until there were KILLS of them; prints one line of JSON for
each kill: [run, phase, updates].

fairseq is imported once and each attempt is a fork of this process, which never runs a model: an
attempt is the whole command, without 6 seconds of imports.
"""

import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import fairseq_cli.train
import forked
import torch

import mixkd_plugin  # noqa: F401

UPDATE = r"\| train_inner \|.*num_updates=(\d+)"
SAVING = "Preparing to save checkpoint"
PHASES = {  # the last of these lines in the log says what the process was about
    "train": rf"{UPDATE}|Start iterating over samples|Saved checkpoint",
    "validate": r"begin validation on",
    "save": SAVING,
}


def start(flags, log: Path) -> int:
    """The process id of an attempt, whose group is its own; it writes to `log`."""
    log.write_text("")
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["fairseq-train", *flags]
    forked.end_as(fairseq_cli.train.cli_main)


def ended(pid: int, log: Path) -> bool:
    """Whether it ended by itself; SystemExit, with its log, if it failed."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done and status:
        raise SystemExit(f"{log.read_text()}\nan attempt failed with status {status}")
    return bool(done)


def phase(text: str) -> str:
    found = [(m.start(), name) for name, p in PHASES.items() for m in re.finditer(p, text)]
    return max(found)[1] if found else "start"


def updates(text: str) -> int:
    found = re.findall(rf"{UPDATE}|@ (\d+) updates", text)
    return max((int(a or b) for a, b in found), default=0)


def attempt(flags, log: Path, rng: random.Random):
    """(phase, updates) of an attempt that was killed, by its log; None if it came to its end.

    It is killed while it starts, or at one of its first updates or savings, or a random time after.
    """
    after, count, longest = rng.choice(
        [("", 0, 2), (UPDATE, rng.randint(1, 4), 0.2), (SAVING, rng.randint(1, 3), 0.03)]
    )
    delay = rng.choice([0, 1]) * rng.uniform(0, longest)  # seconds; to save takes 0.03
    pid = start(flags, log)
    try:
        while len(re.findall(after, log.read_text())) < count:
            if ended(pid, log):
                return None
            time.sleep(0.001)
        time.sleep(delay)
        if ended(pid, log):
            return None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # its loader workers
    text = log.read_text()
    return phase(text), updates(text)


def main(kills: int, seed: int, folder: Path, flags) -> None:
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports for 2 seconds
    rng = random.Random(seed)
    log = folder / "log"
    pid = start([*flags, "--save-dir", str(folder / "straight")], log)
    while not ended(pid, log):
        time.sleep(0.01)
    killed = run = 0
    while killed < kills:
        found = attempt([*flags, "--save-dir", str(folder / f"killed{run}")], log, rng)
        if found is None:
            run += 1
        else:
            killed += 1
            print(json.dumps([run, *found]), flush=True)
    pid = start([*flags, "--save-dir", str(folder / f"killed{run}")], log)
    while not ended(pid, log):
        time.sleep(0.01)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
