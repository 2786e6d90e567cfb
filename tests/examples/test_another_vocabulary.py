"""A WordPiece teacher and a sentencepiece student of the same files, by the real commands."""

from pathlib import Path

import pytest
import sample
import toy
import vocabulary

from mixkd_plugin.tools.encode.encode import encode
from mixkd_plugin.tools.encode.sources import glue_source


def write_corpus(folder: Path, sentences: int):
    """As pairs, which the two families lay out in two ways: a sentence and the one before it."""
    rows = sample.compose(sentences, 0, seed=3)
    lines = [
        f"{text}\t{before}\t{'entailment' if label else 'not_entailment'}\n"
        for (text, label), (before, _) in zip(rows, [rows[-1], *rows])
    ]
    folder.mkdir()
    for name, part in (("train", lines[: -sentences // 4]), ("dev", lines[-sentences // 4 :])):
        (folder / f"{name}.tsv").write_text("sentence1\tsentence2\tlabel\n" + "".join(part))
    return [text for text, _ in rows]


def train(data: Path, save_dir: Path, *flags) -> str:
    """The log of the real command, without its start-up."""
    return toy.train(data, save_dir, *flags).stdout


@pytest.mark.slow
def test_wordpiece_teacher_and_sentencepiece_student(tmp_path):
    texts = write_corpus(tmp_path / "glue", 200)
    specs = {
        "wordpiece": f"wordpiece:{tmp_path / 'wordpiece'}",
        "sentencepiece": f"sentencepiece:{tmp_path / 'sentencepiece' / 'sentencepiece.bpe.model'}",
    }
    flags = {}
    for kind, spec in specs.items():
        vocabulary.train(kind, texts, str(tmp_path / kind), 120)
        given = encode(
            glue_source(str(tmp_path / "glue"), "RTE"), spec, str(tmp_path / f"{kind}_data")
        )
        flags[kind] = given.split()
    assert "--separator-token" in flags["sentencepiece"]
    assert "--separator-token" not in flags["wordpiece"]

    teacher = train(
        tmp_path / "wordpiece_data", tmp_path / "teacher", *flags["wordpiece"],
        "--encoder-embed-dim", 64, "--sm-weight", 0, "--tmkd-weight", 0, "--mixup-ratio", 0,
        "--max-positions", 128, "--lr", 0.005, "--max-epoch", 4,
    )  # fmt: skip
    student = train(
        tmp_path / "sentencepiece_data", tmp_path / "student", *flags["sentencepiece"],
        "--kd-weight", 1, "--mixup-ratio", 2, "--max-positions", 128,
        "--teacher-path", tmp_path / "teacher" / "checkpoint_last.pt",
        "--teacher-data", tmp_path / "wordpiece_data",
    )  # fmt: skip
    assert "were not compared" not in student  # by their fingerprints
    accuracy = toy.last_values(teacher, "valid")["accuracy"]
    assert toy.last_values(student, "valid")["teacher_accuracy"] == accuracy
    assert accuracy not in (0, 100)


@pytest.mark.slow
def test_the_example(tmp_path, venv):
    """All of run.sh, with a few updates."""
    _, said = toy.run_script(venv, "another_vocabulary/run.sh", tmp_path, 10)
    own, seen = (line for line in said.splitlines() if "valid on" in line)
    accuracy = own.split("| accuracy ")[1].split()[0]
    assert f"| teacher_accuracy {accuracy} " in seen
    table = (tmp_path / "work" / "compare" / "compare.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    assert ["teacher", f"{float(accuracy):.1f}", "100.0"] in [row[1:4] for row in rows]
    assert "student" in [row[1] for row in rows if len(row) > 1]
    assert "film dull" in said.splitlines()[-1]
