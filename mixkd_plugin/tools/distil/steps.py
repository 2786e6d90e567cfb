"""The steps of a distillation: each is run once, and again where its command or inputs changed.

A step's mark (work/steps/NAME.json) holds a digest of its command, its input files and the steps
before it, and is written when the step is done.
"""

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...fingerprints import digest_of_file
from ..output import atomic_write, is_full

TOOLS = "mixkd_plugin.tools"
_UPDATE = re.compile(r'"num_updates": "?(\d+)')
_POLL_SECONDS = 0.1


class Steps:
    """Runs the steps of the folder ``out``, and writes ``commands.sh`` there."""

    def __init__(self, out: Path):
        self.out, self.work = out, out / "work"
        self.marks = self.work / "steps"
        self.marks.mkdir(parents=True, exist_ok=True)
        self._keys: dict[str, str] = {}
        self._commands = [
            "# What was run here. Beside a copy of work/texts, which has the examples with the",
            "# teacher's names of the classes, it makes the student again: work/exports/hf.",
            "set -e",
            'cd "$(dirname "$0")"',
            "export OMP_WAIT_POLICY=PASSIVE",
        ]
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:4.0f} s] {text}", flush=True)

    def tool(
        self,
        name: str,
        text: str,
        words: Sequence[Any],
        output: Path,
        after: Iterable[str] = (),
        inputs: Iterable[Any] = (),
        flags: Mapping[str, str] = {},
        readers: Iterable[Path] = (),
    ) -> None:
        """Run the tool ``words[0]`` in this process; what it prints goes to work/logs/NAME.log.

        Args:
            flags: words of its errors, and the flags of `distil` that take their place
            readers: files that need an earlier output, and go with it
        """
        tool, *arguments = map(str, words)
        command = [sys.executable, "-m", f"{TOOLS}.{tool}", *arguments]

        def make() -> None:
            for path in (*readers, output):
                _remove(path)
            with open(self.log(name), "w", encoding="utf-8") as log:
                outputs = contextlib.redirect_stdout(log), contextlib.redirect_stderr(log)
                with outputs[0], outputs[1]:
                    try:
                        importlib.import_module(f"{TOOLS}.{tool}").main(arguments)
                    except SystemExit as end:
                        if isinstance(end.code, str):
                            said = end.code
                            for theirs, ours in flags.items():
                                said = said.replace(theirs, ours)
                            raise ValueError(said) from end
                        if end.code:  # of a signal
                            raise

        name_of_command = {"import_hf": "import"}.get(tool, tool.replace("_", "-"))
        self.note("python", "-m", "mixkd_plugin", name_of_command, *arguments)
        self._once(name, text, command, output, after, inputs, make)

    def optional(self, *arguments: Any) -> str | None:
        """As :meth:`tool`; returns its error, and then commands.sh does not have its command.

        Raises:
            ValueError: if the disk is full.
        """
        noted = len(self._commands)
        try:
            self.tool(*arguments)
        except ValueError as error:
            if is_full(error):
                raise
            del self._commands[noted:]
            return str(error)
        return None

    def train(
        self,
        name: str,
        text: str,
        words: Sequence[Any],
        folder: Path,
        updates: int,
        after: Iterable[str] = (),
        finish: Callable[[], Any] = lambda: None,
        inputs: Iterable[Any] = (),
    ) -> Any:
        """Run `fairseq-train`; an interrupted one goes on from its last checkpoint.

        Returns what ``finish`` returned when the step was done.
        """
        command = [sys.executable, "-m", "fairseq_cli.train", *map(str, words)]

        def make() -> Any:
            begun, key = folder / "begun", self._keys[name]
            if not begun.exists() or begun.read_text() != key:  # of another command
                _remove(folder)
                _remove(self.log(name))
                folder.mkdir(parents=True)
                atomic_write(begun, key)
            run_training(command, self.log(name), updates, text)
            return finish()

        return self._once(name, text, command, folder, after, inputs, make)

    def log(self, name: str) -> Path:
        folder = self.work / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"

    def _once(
        self,
        name: str,
        text: str,
        command: Sequence[str],
        output: Path,
        after: Iterable[str],
        inputs: Iterable[Any],
        make: Callable[[], Any],
    ) -> Any:
        before = [self._keys[step] for step in after]
        files = [digest_of_file(str(path)) for path in inputs]
        key = hashlib.sha256(json.dumps([command, before, files]).encode()).hexdigest()
        self._keys[name] = key
        mark = self.marks / f"{name}.json"
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(mark.read_text())
            if found["key"] == key and output.exists():
                self.say(f"{text}: done before")
                return found["result"]
        self.say(text)
        mark.unlink(missing_ok=True)
        result = make()
        atomic_write(mark, json.dumps({"key": key, "result": result}))
        return result

    def note(self, *words: Any) -> None:
        """Add a command to commands.sh, where paths are relative to its folder."""
        inside = re.compile(f"(^|[=:,]){re.escape(str(self.out))}/")  # not within another path
        self._commands.append(shlex.join(inside.sub(r"\1", str(word)) for word in words))
        atomic_write(self.out / "commands.sh", "\n".join(self._commands) + "\n")


def run_training(command: Sequence[str], log: Path, updates: int, text: str) -> None:
    """Run `fairseq-train` with a bar of its updates; its output is appended to ``log``.

    Raises:
        ValueError: with its error, if it fails.
        OSError: if the disk is full.
    """
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    with open(log, "ab") as output, open(log, encoding="utf-8", errors="replace") as lines:
        lines.seek(0, os.SEEK_END)
        # it inherits our lock: while it lives, no second command writes here
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, close_fds=False
        )
        try:
            with tqdm(total=updates, desc=text, unit=" updates", leave=False, disable=None) as bar:
                while process.poll() is None:
                    time.sleep(_POLL_SECONDS)
                    for found in _UPDATE.findall(lines.read()):
                        bar.update(max(0, int(found) - bar.n))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        error = ValueError(f"fairseq-train failed: {error_in(log)}; all of its output is in {log}")
        if is_full(error) or not has_space(log.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log.parent)) from error
        raise error


def has_space(folder: Path) -> bool:
    """Whether a megabyte can be written; without it a command's error is lost."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * (1 << 20))
    except OSError as error:
        return not is_full(error)
    return True


def error_in(log: Path) -> str:
    """The sentence that a failed `fairseq-train` ended with."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or ["no output"])[-1][:600]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def has_libraries(*names: str) -> bool:
    return all(importlib.util.find_spec(name) for name in names)
