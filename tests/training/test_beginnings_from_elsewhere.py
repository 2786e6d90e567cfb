"""A student begins from a checkpoint as others have it: its own words, settings and numbers."""

import shutil

import inprocess
import pytest
import torch
import toy
from refusals import FINE_TUNE, accepts, refusal
from taught import of_data


def student_init(tmp_path, teacher, model=None, **settings):
    with toy.edited(teacher, tmp_path / "init.pt") as state:
        vars(state["cfg"]["model"]).update(settings)
        if model is not None:
            model(state["model"])
    return [*FINE_TUNE, "--student-init-path", tmp_path / "init.pt"]


@pytest.mark.parametrize("where", ["beside it", "its data"])
def test_a_student_begins_from_its_own_words(tmp_path, classification, teacher, where):
    """As many, one of them another: shapes do not tell."""
    folder = toy.copy_data(classification, tmp_path / "theirs")
    lines = (folder / "input0" / "dict.txt").read_text().splitlines()
    (folder / "input0" / "dict.txt").write_text("\n".join([*lines[:-1], "other 1"]) + "\n")
    path = of_data(tmp_path / "t.pt", teacher, folder)
    if where == "beside it":
        path = of_data(tmp_path / "t.pt", teacher, tmp_path / "gone")
        shutil.copy(folder / "input0" / "dict.txt", tmp_path / "dict.txt")
    flags = [*FINE_TUNE, "--student-init-path", path]
    message = refusal(classification, tmp_path / "s", *flags)
    assert f"--student-init-path {path}" in message and repr(lines[-1].split()[0]) in message


def test_words_that_cannot_be_compared_are_warned_about(tmp_path, classification, teacher, caplog):
    path = of_data(tmp_path / "t.pt", teacher, tmp_path / "gone")
    accepts(classification, tmp_path / "s", *FINE_TUNE, "--student-init-path", path)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert any(str(path) in said and "VOCABULARY" in said for said in warnings)


def test_the_epsilon_of_bert_comes_with_its_weights(tmp_path, classification, teacher):
    flags = student_init(tmp_path, teacher, _name="mixkd_roberta", layer_norm_eps=1e-12)
    accepts(classification, tmp_path / "s", *flags, "--layer-norm-eps", 1e-12)
    message = refusal(classification, tmp_path / "s", *flags, "--layer-norm-eps", 1e-5)
    assert "--layer-norm-eps must be 1e-12" in message and "got 1e-05" in message

    run = toy.train_flags(classification, tmp_path / "s", *flags)
    inprocess.run_training([*run, "--max-update", 1])
    (tmp_path / "init.pt").unlink()  # the student's own checkpoint says it from here on
    inprocess.run_training([*run, "--max-update", 2])
    assert inprocess.updates(tmp_path / "s") == 2
    tuned = toy.train_flags(classification, tmp_path / "t", *FINE_TUNE)
    path = tmp_path / "s" / "checkpoint_last.pt"
    inprocess.run_training([*tuned, "--finetune-from-model", path, "--max-update", 1])
    for folder in ("s", "t"):
        model = torch.load(tmp_path / folder / "checkpoint_last.pt")["cfg"]["model"]
        assert model.layer_norm_eps == 1e-12


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_student_begins_with_numbers(tmp_path, classification, teacher, value):
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    flags = student_init(tmp_path, teacher, lambda model: model[name][0, 0].fill_(value))
    message = refusal(classification, tmp_path / "s", *flags)
    assert "--student-init-path" in message and f": its {name} is not " in message
