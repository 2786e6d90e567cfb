"""Texts without labels for a study: a part of the training set, whose labels are hidden."""

import pytest
import unlabelled_pool

from mixkd_plugin.data.mixup_plan import stratified_subset


def rows(path):
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return header, [tuple(line.split("\t")) for line in lines]


@pytest.fixture
def glue(tmp_path):
    folder = tmp_path / "glue" / "mine"
    folder.mkdir(parents=True)
    labels = ["rare"] * 20 + ["usual"] * 80
    lines = [f"text {i}\t{label}\n" for i, label in enumerate(labels)]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "".join(lines))
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(lines[::10]))
    return folder.parent


def make(glue, out, *more):
    words = ["--glue", glue, "--task", "mine", "--out", out, "--fraction", 0.1, *more]
    unlabelled_pool.main([str(word) for word in words])
    return out / "0.1-3" / "mine"


def test_the_labelled_ones_are_those_of_the_other_arms(tmp_path, glue, capsys):
    folder = make(glue, tmp_path / "pool", "--seed", 3, "--times", 4)
    header, found = rows(folder / "train.tsv")
    _, every = rows(glue / "mine" / "train.tsv")
    classes = [("rare", "usual").index(label) for _, label in every]
    labelled = [every[i] for i in stratified_subset(classes, 0.1, 3)]
    assert header == "sentence\tlabel" and found[:10] == labelled
    hidden = [text for text, label in found[10:] if label == ""]
    assert len(hidden) == len({*hidden}) == 40 and not {*hidden} & {text for text, _ in labelled}
    assert {*hidden} < {text for text, _ in every}
    assert (folder / "dev.tsv").read_text() == (glue / "mine" / "dev.tsv").read_text()
    assert "10 examples with a label, 40 without" in capsys.readouterr().out
    all_others = make(glue, tmp_path / "all", "--seed", 3, "--times", 99)
    assert len(rows(all_others / "train.tsv")[1]) == 100


def test_texts_that_are_new_to_the_teacher(tmp_path, glue):
    half = tmp_path / "half"
    folders = [
        make(glue, tmp_path / f"pool{times}", "--seed", 3, "--half", half, "--times", times)
        for times in (3, 99)
    ]
    _, every = rows(glue / "mine" / "train.tsv")
    header, own = rows(half / "mine" / "train.tsv")
    assert header == "sentence\tlabel" and len({*own}) == 50 and {*own} < {*every}
    classes = [("rare", "usual").index(label) for _, label in own]
    labelled = [own[i] for i in stratified_subset(classes, 0.1, 3)]
    rest = {text for text, _ in every} - {text for text, _ in own}
    for folder, count in zip(folders, (3 * len(labelled), 50)):
        found = rows(folder / "train.tsv")[1]
        hidden = {text for text, label in found[len(labelled) :] if label == ""}
        assert found[: len(labelled)] == labelled
        assert len(hidden) == count == len(found) - len(labelled) and hidden <= rest
    assert (half / "mine" / "dev.tsv").read_text() == (glue / "mine" / "dev.tsv").read_text()


@pytest.mark.parametrize(
    "flags, said", [(["--fraction", "0"], "--fraction"), (["--times", "-1"], "--times")]
)
def test_refusals(tmp_path, glue, capsys, flags, said):
    with pytest.raises(SystemExit):
        make(glue, tmp_path / "pool", *flags)
    assert f"{said} must be" in capsys.readouterr().err and not (tmp_path / "pool").exists()
    make(glue, tmp_path / "pool", "--seed", 3)
    with pytest.raises(SystemExit):
        make(glue, tmp_path / "pool", "--seed", 3)
    assert "--out must not have" in capsys.readouterr().err
