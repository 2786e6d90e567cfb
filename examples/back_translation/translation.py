"""Translating texts with any checkpoint of fairseq's, through `fairseq-interactive`."""

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Sequence

import mixkd_plugin
from mixkd_plugin.fingerprints import digest_of_file

# What fairseq-interactive prints: S- source, H- hypothesis, D- the same without BPE and tokenizer.
_OUTPUT = re.compile(r"D-(\d+)\t[^\t]*\t(.*)")


class Translation:
    """One direction: a call of fairseq-interactive.

    Raises:
        ValueError: where its checkpoint is not named, or does not exist.
    """

    def __init__(self, name: str, arguments: str):
        self.name, self.arguments = name, shlex.split(arguments)
        parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
        for flag in ("--path", "--user-dir", "--buffer-size", "--batch-size", "--max-tokens"):
            parser.add_argument(flag)
        given = parser.parse_known_args(self.arguments)[0]
        if not given.path:
            raise ValueError(f"--{name} {arguments!r}: --path CHECKPOINT is missing")
        self.checkpoints = given.path.split(os.pathsep)
        for path in self.checkpoints:
            if not os.path.isfile(path):
                raise ValueError(f"--{name}: --path {path} does not exist")
        if not given.user_dir:  # lets fairseq read its checkpoints under torch >= 2.6
            self.arguments += ["--user-dir", os.path.dirname(mixkd_plugin.__file__)]
        if not given.buffer_size:
            self.arguments += ["--buffer-size", "1024"]
        if not (given.batch_size or given.max_tokens):
            self.arguments += ["--batch-size", "32"]

    def continued(self, found: Dict[str, str], work: Path) -> Dict[str, str]:
        """The same keys, and for each value its translation: once where it comes several times."""
        texts = [text for text in dict.fromkeys(found.values()) if text]
        translations = self.translate(texts, work) if texts else []
        translated = {"": "", **dict(zip(texts, translations))}
        return {key: translated[text] for key, text in found.items()}

    def translate(self, texts: List[str], work: Path) -> List[str]:
        """One translation, possibly empty, of each of ``texts``; kept in ``work`` under a digest.

        Raises:
            ValueError: where fairseq-interactive fails, or does not say one thing to each text.
        """
        known_by = [texts, self.arguments, [digest_of_file(path) for path in self.checkpoints]]
        digest = hashlib.sha256(json.dumps(known_by).encode()).hexdigest()[:12]
        source, output, log, result = (
            work / f"{self.name}-{digest}.{kind}" for kind in ("source", "output", "log", "txt")
        )
        if result.exists():
            print(f"{self.name}: {len(texts)} translations are in {result}", flush=True)
            return _lines(result)
        print(f"{self.name}: {len(texts)} texts; {output} shows the progress", flush=True)
        work.mkdir(parents=True, exist_ok=True)
        source.write_bytes("".join(f"{text}\n" for text in texts).encode())
        start = time.time()
        self._run(source, output, log)
        translations = parse(_lines(output), len(texts), f"--{self.name}", str(output))
        unfinished = result.with_suffix(".unfinished")
        unfinished.write_bytes("".join(f"{text}\n" for text in translations).encode())
        unfinished.replace(result)
        print(f"{self.name}: {time.time() - start:.0f} s", flush=True)
        return translations

    def _run(self, source: Path, output: Path, log: Path) -> None:
        command = [sys.executable, "-m", "fairseq_cli.interactive", *self.arguments]
        command += ["--input", str(source)]
        # two files: in one, a message could end up in the middle of a line of the output
        with open(output, "wb") as out, open(log, "wb") as err:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        if done.returncode != 0:
            last = [line for line in _lines(log) if line.strip()][-1:]
            raise ValueError(
                f"--{self.name}: fairseq-interactive ended with {done.returncode}: "
                f"{' '.join(last)} ({log})"
            )


def _lines(path: Path) -> List[str]:
    """Lines end with a line feed and nothing else."""
    return path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]


def parse(lines: Sequence[str], count: int, flag: str, source: str) -> List[str]:
    """The translations in what fairseq-interactive printed, in the order of the texts.

    Raises:
        ValueError: where one of the ``count`` texts has no translation, or several.
    """
    found: Dict[int, List[str]] = {i: [] for i in range(count)}
    for line in lines:
        match = _OUTPUT.fullmatch(line)
        if match:
            found.setdefault(int(match[1]), []).append(" ".join(match[2].split()))
    wrong = [i for i, outputs in found.items() if len(outputs) != 1 or i >= count]
    if wrong:
        raise ValueError(
            f"{flag} must have one translation of each text, got {sum(map(len, found.values()))} "
            f"of {count} texts, {len(found[wrong[0]])} of text {wrong[0] + 1}: use --nbest 1, no "
            f"--skip-invalid-size-inputs-valid-test ({source})"
        )
    return [found[i][0] for i in range(count)]
