"""Toy data in two vocabularies: the student's has words, the teacher's has pieces of them."""

import shutil
from pathlib import Path
from typing import List, NamedTuple

import inprocess
import toy

# An odd word is two pieces: texts differ in length by what is in them.
PIECES = [*(f"p{n}" for n in range(7)), *(f"##{n}" for n in range(len(toy.WORDS)))]


def pieces_of(text: str) -> List[str]:
    numbers = [int(word[1:]) for word in text.split()]
    return [p for n in numbers for p in ([f"p{n % 7}"] if n % 2 else []) + [f"##{n}"]]


def add_second_text(data: Path) -> Path:
    """Make pairs of a toy folder's texts: each with itself, backwards."""
    raw = data / "raw"
    for split in ("train", "valid"):
        lines = (raw / f"{split}.text").read_text().splitlines()
        backwards = "".join(" ".join(line.split()[::-1]) + "\n" for line in lines)
        (raw / f"{split}.text1").write_text(backwards)
    toy.preprocess(data, raw / "train.text1", raw / "valid.text1", raw / "dict.txt", "input1")
    return data


def texts_of(data: Path, split: str) -> List[List[str]]:
    """The one or two raw texts of each example."""
    files = [data / "raw" / f"{split}.{name}" for name in ("text", "text1")]
    return list(map(list, zip(*(f.read_text().splitlines() for f in files if f.exists()))))


def teachers_copy(data: Path, folder: Path) -> Path:
    """The folder's examples in the teacher's vocabulary."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    (raw / "dict.txt").write_text("".join(f"{piece} 1\n" for piece in PIECES))
    for column in range(len(texts_of(data, "train")[0])):
        for split in ("train", "valid"):
            lines = [" ".join(pieces_of(texts[column])) for texts in texts_of(data, split)]
            (raw / f"{split}.{column}").write_text("".join(f"{line}\n" for line in lines))
        files = (raw / f"{split}.{column}" for split in ("train", "valid"))
        toy.preprocess(folder, *files, raw / "dict.txt", f"input{column}")
    shutil.copytree(data / "label", folder / "label")
    return folder


# Not the student's, which begins with <s>: the teacher's layout is the teacher's own.
INIT = 2


class Case(NamedTuple):
    data: Path
    copy: Path  # the teacher's
    teacher: Path
    flags: list  # of the student

    def flags_for(self, folder, *extra):
        flags = ["--teacher-path", self.teacher, "--teacher-data", self.copy, *self.flags]
        return toy.train_flags(self.data, folder, *flags, *extra)

    def run(self, folder, *extra, watcher=lambda *_: None):
        return inprocess.run_training(self.flags_for(folder, *extra), watcher)


def make_case(folder, data, size, flags=(), teacher_flags=()):
    """``size``: flags of the teacher's; the other flags are of the student and of the teacher."""
    copy = teachers_copy(data, folder / "copy")
    teacher_flags = [*size, "--init-token", INIT, *teacher_flags]
    toy.fit(copy, folder / "teacher", *teacher_flags, task="sentence_prediction")
    return Case(data, copy, folder / "teacher" / "checkpoint_last.pt", list(flags))
