"""What the runs of a study begin with: the encoder and binarised data, each made once."""

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
from ..results import Run
from ..texts.glue import TASKS
from . import plan
from .commands import Commands, name_of

UNFINISHED = "FOLDER"  # in a command, for the folder that it makes


class Inputs:
    """Makes them in the folder ``out``, by whoever comes first."""

    def __init__(self, study: Mapping[str, Any], out: Path, commands: Commands):
        self.study, self.out, self.commands = study, out, commands

    def encoder(self) -> Path:
        """The pre-trained encoder as a fairseq checkpoint, with its tokenizer."""
        source = Path(self.study["encoder"])
        if (source / "model.pt").exists():
            return source.resolve()
        return self._make(self.out / "encoder", "import_hf", _absolute(str(source)), UNFINISHED)

    def data(self, task: str, name: str, part: Run | None = None) -> Path:
        """The task's binarised data: of the whole split, or of a run's part of it."""
        glue, folder = _absolute(self.study["glue"][name]), self.out / "data" / name / task
        if part is not None:
            glue = glue.format(fraction=f"{part.fraction:g}", seed=part.seed)
            folder = folder / f"{part.fraction:g}-seed{part.seed}"
        source = os.path.join(glue, task)
        kind, _, path = str(self.study["encode_tokenizer"]).partition(":")
        more = self.study["encode_flags"].get(name, [])
        more = more.get(task, []) if isinstance(more, dict) else more
        return self._make(
            folder, "encode", "--glue", source, "--task", task, "--out", UNFINISHED,
            "--tokenizer", f"{kind}:{_absolute(path) if path else self.encoder()}",
            "--max-tokens", str(plan.teacher_settings(self.study, task)["length"]),
            *(_absolute(str(word)) for word in more),
            reads={source: [os.path.join(source, f) for f in ("train.tsv", *TASKS[task].valid)]},
        )  # fmt: skip

    def _make(
        self, folder: Path, tool: str, *arguments: str, reads: Mapping[str, Sequence[str]] = {}
    ) -> Path:
        """A folder by one of our tools, called with UNFINISHED for it; there once it is complete.

        It is known by the command, with the contents of what the command reads in place of paths.
        ``reads``: of a path what matters, if not all that is there.

        Raises:
            ValueError: where it is there, made by another command, or of files that have changed.
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
                    f"{folder} was made with other settings, or of files that have changed since: "
                    f"name another out, or remove {folder}; then it is made again, with all runs "
                    "that read it"
                )
        return folder


def _absolute(path: str) -> str:
    """A path that means the same from everywhere; a name on a hub stays."""
    return os.path.abspath(path) if os.path.exists(path) or "{" in path else path


def _with_content(argument: str, reads: Mapping[str, Sequence[str]]) -> str:
    """An argument; in place of a path, as in KIND:PATH, its last part and what is there."""
    start, colon, path = argument.rpartition(":")
    if not os.path.isabs(path):
        return argument
    paths = list(reads.get(path, [path]))
    if os.path.isfile(path):
        paths.append(os.path.join(os.path.dirname(path), "dict.txt"))  # sentencepiece's words
    known = f"@{digest_of(*paths)}" if any(map(os.path.exists, paths)) else ""
    return f"{start}{colon}{os.path.basename(path)}{known}"


def _made_by(name: str | None, words: Sequence[str]) -> bool:
    """Whether a name is that of these words; what is no longer there has not changed."""
    known = shlex.split(name or "")
    return len(known) == len(words) and all(
        word in (one, one.rpartition("@")[0]) for one, word in zip(known, words)
    )


def digest_of(*paths: str) -> str:
    """Of the contents of files, and of all that is in folders but logs and hidden files, in short.

    Neither where they are nor when they were written changes it.
    """
    digest = hashlib.sha256()
    for path in map(Path, paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            name = str(file.relative_to(path)) if file != path else ""
            if file.is_file() and file.suffix != ".log" and not f"/{name}".count("/."):
                content = _digest(str(file), os.stat(file).st_mtime_ns)
                digest.update(f"{name}\0{content}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


@functools.cache
def _digest(path: str, changed: int) -> str:
    return digest_of_file(path)


def examples_in(data: Path, fraction: float) -> int:
    """About how many training examples a fraction has."""
    everything = data_utils.load_indexed_dataset(str(data / "input0" / "train"), None)
    return max(1, round(fraction * len(everything)))
