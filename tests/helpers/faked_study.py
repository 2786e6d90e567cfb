"""Studies whose commands are not run: each leaves at once what it would have made."""

import json
import shutil
from pathlib import Path

from encode_files import write_glue
from small_study import STUDY

from mixkd_plugin.tools.study import jobs
from mixkd_plugin.tools.study.commands import Commands, JobFailed
from mixkd_plugin.tools.study.study import read_study, run_study

STAMP = "2026-01-01 00:00:00 | INFO | "
LOG = [
    'valid | {"epoch": 1, "valid_loss": "0.9", "valid_accuracy": "80", "valid_num_updates": "2"}',
    'train | {"epoch": 1, "train_num_updates": "2", "train_lr": "1", "train_examples": "5", '
    '"train_examples_seen": "5"}',
]


class FakedStudy:
    """A study of SST-2 in ``folder``, and the tools that it called since it was last asked.

    ``commands`` are those of all of its life.
    """

    def __init__(self, folder: Path, data: str):
        self.folder, self.data, self._called, self._studies = folder, data, [], {}
        self.commands = []
        write_glue(folder / "glue" / "SST-2", ["sentence", "label"], [("fine", "1")])
        (folder / "source").mkdir()
        self.write("source/vocab.txt", "fine")

    def write(self, name, text):
        (self.folder / name).write_text(text)

    @property
    def called(self):
        called, self._called = self._called, []
        return called

    def read(self, *overrides):
        here = self.folder
        usual = [f"glue.gold={here}/glue", f"out={here}/out", f"encoder={here}/source"]
        usual += ["tasks=[SST-2]", "fractions=[0.5]", "seeds=[1]", "arms=[FT,KD]", "devices=cpu"]
        words = (*usual, "jobs=1", *overrides)
        if words not in self._studies:  # hydra takes its time
            self._studies[words] = read_study(str(STUDY), words)
        return self._studies[words]

    def run(self, *overrides):
        """How many runs ended in which way."""
        return dict(run_study(self.read(*overrides)))

    @property
    def results(self):
        return self.folder / "out" / "results.jsonl"

    @property
    def lines(self):
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    def call(self, commands, name, command, log, env=None):
        tool, after = command[2].rpartition(".")[2], dict(zip(command, command[1:]))
        self._called.append(tool)
        self.commands.append(command)
        with open(log, "a") as file:
            file.write(f"{name}\n")
            if tool == "train":
                file.writelines(f"{STAMP}{line}\n" for line in LOG)
        if tool == "train":
            for flag in ("--student-init-path", "--teacher-path"):
                if not Path(after.get(flag, log)).exists():
                    raise JobFailed(f"{flag} {after[flag]} is not there")
            Path(after["--save-dir"], "checkpoint_last.pt").write_text(name)
        elif tool == "compare":
            rows = {p.partition("=")[0]: p for p in command if p.endswith(".pt")}
            row = {"accuracy": 80.0, "sentences_per_second": 1.0, "parameters": 2}
            Path(after["--out"]).mkdir(parents=True)
            models = {"models": dict.fromkeys(rows, row)}
            Path(after["--out"], "compare.json").write_text(json.dumps(models))
        elif tool == "encode":
            shutil.copytree(self.data, after["--out"])
            folders = after["--glue"], after["--tokenizer"].partition(":")[2]
            read = [p.read_text() for f in folders for p in sorted(Path(f).iterdir())]
            Path(after["--out"], "texts.json").write_text(json.dumps(read))
            Path(after["--out"], "train_flags.txt").write_text("--num-classes 2")
        else:
            shutil.copytree(after[f"mixkd_plugin.tools.{tool}"], command[-1])
            Path(command[-1], "model.pt").write_text("encoder")


def fake(folder, data, monkeypatch):
    study = FakedStudy(folder, str(data))
    monkeypatch.setattr(Commands, "call", lambda commands, *args: study.call(commands, *args))
    size = {"layers": 3, "parameters": 2, "bytes": 8}
    monkeypatch.setattr(jobs, "size_of", lambda path: size)
    return study
