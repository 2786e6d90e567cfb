"""Toy data of several labels for a text: class k says whether a word ends in the digit k."""

import toy

NAMES = ("a", "b", "c")
FLAGS = ["--multi-label", "--num-classes", len(NAMES)]


def make_data(folder, sizes, names=NAMES):
    toy.make_data(folder, sizes, targets=1)
    for split in sizes:
        texts = (folder / "raw" / f"{split}.text").read_text().splitlines()
        has = [{int(word[-1]) for word in text.split()} for text in texts]
        write(folder, split, [[int(k in digits) for k in range(len(names))] for digits in has])
    (folder / "label" / "dict.txt").write_text("".join(f"{name} 1\n" for name in names))
    return folder


def write(folder, split, rows):
    text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    (folder / "label" / f"{split}.label").write_text(text)
