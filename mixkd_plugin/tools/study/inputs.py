"""The inputs of a study's runs: the encoder and binarised data, each made once."""

import functools
import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq.data import data_utils

from ...fingerprints import digest_of_file
from ..locks import locked
from ..remembered import FILE as NOTE
from ..results import Run
from . import plan
from .commands import Commands, name_of
from .tasks import files_of, source_flags

UNFINISHED = "FOLDER"  # in a command: the folder that it makes


class Inputs:
    """Makes the inputs in the folder ``out``; the first process that needs one makes it."""

    def __init__(self, study: Mapping[str, Any], out: Path, commands: Commands):
        self.study, self.out, self.commands = study, out, commands

    def encoder(self) -> Path:
        """The pre-trained encoder as a fairseq checkpoint, with its tokenizer."""
        source = self.study["encoder"]
        if os.path.exists(os.path.join(source, "model.pt")):
            return Path(source).resolve()
        return self._imported(source, self.out / "encoder")

    def other_encoder(self, source: str) -> Path:
        """An encoder in a Hugging Face folder, from which students begin, likewise."""
        return self._imported(source, self.out / "inits" / Path(source).resolve().name)

    def _imported(self, source: str, folder: Path) -> Path:
        return self._make(folder, "import_hf", _absolute(source), UNFINISHED)

    def data(self, task: str, name: str, part: Run | None = None) -> Path:
        """The task's binarised data: of the full split, or of a run's subset."""
        glue, folder = _absolute(self.study["glue"][name]), self.out / "data" / name / task
        if part is not None:
            glue = glue.format(fraction=f"{part.fraction:g}", seed=part.seed)
            folder = folder / f"{part.fraction:g}-seed{part.seed}"
        source = os.path.join(glue, task)
        kind, _, path = str(self.study["encode_tokenizer"]).partition(":")
        more = self.study["encode_flags"].get(name, [])
        more = more.get(task, []) if isinstance(more, dict) else more
        return self._make(
            folder, "encode", *source_flags(source, task), "--out", UNFINISHED,
            "--tokenizer", f"{kind}:{_absolute(path) if path else self.encoder()}",
            "--max-tokens", str(plan.teacher_settings(self.study, task)["length"]),
            *(_absolute(str(word)) for word in more),
            reads={source: [os.path.join(source, name) for name in files_of(task)]},
        )  # fmt: skip

    def _make(
        self, folder: Path, tool: str, *arguments: str, reads: Mapping[str, Sequence[str]] = {}
    ) -> Path:
        """A folder made by one of our tools, in whose command it is UNFINISHED.

        Its log has the command, with digests of the contents of paths. ``reads``: the files that
        matter of a path (default: all).

        Raises:
            ValueError: if it was made by another command, or from files that have changed.
        """
        words = [tool, *(_with_content(argument, reads) for argument in arguments)]
        log, unfinished = (folder.with_name(folder.name + end) for end in (".log", ".unfinished"))
        with locked(folder, check=self.commands.check):
            if not folder.exists():
                log.unlink(missing_ok=True)
                shutil.rmtree(unfinished, ignore_errors=True)
                arguments = [str(unfinished) if a == UNFINISHED else a for a in arguments]
                command = [sys.executable, "-m", f"mixkd_plugin.tools.{tool}", *arguments]
                self.commands.call(shlex.join(words), command, log)
                os.replace(unfinished, folder)
            elif not _made_by(name_of(log), words):
                raise ValueError(
                    f"{folder} was made with other settings, or from files that have changed: "
                    f"name another out, or remove {folder}; then it is made again, with all runs "
                    "that read it"
                )
        return folder


def _absolute(path: str) -> str:
    """The absolute path; a name on a hub is not changed."""
    return os.path.abspath(path) if os.path.exists(path) or "{" in path else path


def _with_content(argument: str, reads: Mapping[str, Sequence[str]]) -> str:
    """An argument; a path, as in KIND:PATH, becomes its last part with a digest."""
    start, colon, path = argument.rpartition(":")
    if not os.path.isabs(path):
        return argument
    paths = list(reads.get(path, [path]))
    if os.path.isfile(path):
        paths.append(os.path.join(os.path.dirname(path), "dict.txt"))  # of sentencepiece
    known = f"@{digest_of(*paths)}" if any(map(os.path.exists, paths)) else ""
    return f"{start}{colon}{os.path.basename(path)}{known}"


def _made_by(name: str | None, words: Sequence[str]) -> bool:
    """Whether a name is that of these words; a path that was removed counts as unchanged."""
    known = shlex.split(name or "")
    return len(known) == len(words) and all(
        word in (one, one.rpartition("@")[0]) for one, word in zip(known, words)
    )


def digest_of(*paths: str) -> str:
    """Short digest of files, and of folders without their logs and hidden files.

    It does not depend on locations and times, so not on the path that a data folder notes.
    """
    digest = hashlib.sha256()
    for path in map(Path, paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            name = str(file.relative_to(path)) if file != path else ""
            left_out = file.suffix == ".log" or file.name == NOTE or "/." in f"/{name}"
            if file.is_file() and not left_out:
                content = _digest(str(file), os.stat(file).st_mtime_ns)
                digest.update(f"{name}\0{content}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


@functools.cache
def _digest(path: str, changed: int) -> str:
    return digest_of_file(path)


def examples_in(data: Path, fraction: float) -> int:
    """The number of training examples in a fraction, rounded."""
    everything = data_utils.load_indexed_dataset(str(data / "input0" / "train"), None)
    return max(1, round(fraction * len(everything)))
