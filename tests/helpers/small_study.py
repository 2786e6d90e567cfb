"""The study of examples/glue on a few sentences."""

import subprocess
import sys

from bert_source import random_weights, write_source
from toy import ROOT

STUDY = ROOT / "examples" / "glue" / "study.yaml"


def write_sample(folder, *arguments):
    command = [sys.executable, str(ROOT / "examples" / "quickstart" / "sample.py"), str(folder)]
    subprocess.run([*command, *map(str, arguments)], check=True)
    return {name: (folder / name).read_text() for name in ("train.tsv", "dev.tsv")}


def untrained_minilm(folder):
    """A BERT of MiniLM's size with random weights and a vocabulary of letters."""
    letters = [c + d for c in ("", "##") for d in "abcdefghijklmnopqrstuvwxyz.,;"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    config = {
        "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
        "num_attention_heads": 12, "max_position_embeddings": 512, "vocab_size": len(vocabulary),
    }  # fmt: skip
    return write_source(folder, config, random_weights(config), vocabulary)


def small_study(venv, tmp_path, *overrides):
    """The command of it by an environment."""
    glue, source = tmp_path / "glue", tmp_path / "bert"
    if not glue.exists():
        write_sample(glue / "SST-2", "--train", 64, "--dev", 21)
        untrained_minilm(source)
    return [
        f"{venv}/bin/python", "-m", "mixkd_plugin.tools.study", str(STUDY), f"glue.gold={glue}",
        f"out={tmp_path / 'out'}", f"encoder={source}", "tasks=[SST-2]", "fractions=[0.5]",
        "seeds=[1,2]", "devices=cpu", "jobs=2", "points=2", "settings.common.min-updates=2",
        "settings.common.epochs=1", "settings.common.teacher-epochs=1", *overrides,
    ]  # fmt: skip
