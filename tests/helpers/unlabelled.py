"""Data folders with other labels, or without some."""

import inprocess


def relabelled(data, split, lines):
    """Binarise other labels into a copied data folder."""
    for old in (data / "label").glob(f"{split}.*"):
        old.unlink()
    text = data / "raw" / f"{split}.label"
    text.write_text("".join(f"{line}\n" for line in lines))
    prefs = ["--trainpref" if split == "train" else "--validpref", text]
    inprocess.preprocess(
        "--only-source", *prefs, "--srcdict", data / "raw" / "labels.txt", "--destdir",
        data / "label", "--workers", 1,
    )  # fmt: skip


ALLOW = ["--unlabelled-examples", "allow"]
NONE = {False: "<unk>", True: "nan nan nan"}


def without(data, regression, hidden):
    """Take the labels of the training examples ``hidden`` away."""
    path = data / ("label" if regression else "raw") / "train.label"
    lines = path.read_text().splitlines()
    lines = [NONE[regression] if i in hidden else line for i, line in enumerate(lines)]
    if regression:
        path.write_text("".join(f"{line}\n" for line in lines))
    else:
        relabelled(data, "train", lines)
    return data
