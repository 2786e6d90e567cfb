"""What the runs of a study begin with: the encoder and binarised data, each made once."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any, Mapping, Optional

from fairseq.data import data_utils

from . import study_plan
from .results import Run
from .study_commands import portable
from .study_processes import Commands, locked, name_of

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
        return self._make(self.out / "encoder", "import_hf", _whole(str(source)), UNFINISHED)

    def data(self, task: str, name: str, part: Optional[Run] = None) -> Path:
        """The task's binarised data: of the whole split, or of a run's part of it."""
        glue, folder = _whole(self.study["glue"][name]), self.out / "data" / name / task
        if part is not None:
            glue = glue.format(fraction=f"{part.fraction:g}", seed=part.seed)
            folder = folder / f"{part.fraction:g}-seed{part.seed}"
        kind, _, path = str(self.study["encode_tokenizer"]).partition(":")
        arguments = ["--glue", os.path.join(glue, task), "--task", task, "--out", UNFINISHED]
        arguments += ["--tokenizer", f"{kind}:{_whole(path) if path else self.encoder()}"]
        arguments += ["--max-tokens", str(study_plan.teacher_settings(self.study, task)["length"])]
        more = self.study["encode_flags"].get(name, [])
        more = more.get(task, []) if isinstance(more, dict) else more
        return self._make(folder, "encode", *arguments, *map(str, more))

    def _make(self, folder: Path, tool: str, *arguments: str) -> Path:
        """A folder by one of our tools, called with UNFINISHED for it; there once it is complete.

        Raises:
            ValueError: where it is there, made by another command.
        """
        command = [sys.executable, "-m", f"mixkd_plugin.tools.{tool}", *arguments]
        name, log = portable(command, self.out), folder.with_name(f"{folder.name}.log")
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        with locked(folder, check=self.commands.check):
            if not folder.exists():
                log.unlink(missing_ok=True)
                shutil.rmtree(unfinished, ignore_errors=True)
                whole = [str(unfinished) if a == UNFINISHED else a for a in command]
                self.commands.call(name, whole, log)
                os.replace(unfinished, folder)
            elif name_of(log) != name:
                raise ValueError(f"{folder} was made with other settings; allowed: another out")
        return folder


def _whole(path: str) -> str:
    """A path that means the same from everywhere; a name on a hub stays."""
    return os.path.abspath(path) if os.path.exists(path) or "{" in path else path


def examples_in(data: Path, fraction: float) -> int:
    """About how many training examples a fraction has."""
    everything = data_utils.load_indexed_dataset(str(data / "input0" / "train"), None)
    return max(1, round(fraction * len(everything)))
