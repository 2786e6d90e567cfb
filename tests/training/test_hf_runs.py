"""Runs with encoders of transformers: as teachers beside fairseq's, and as students."""

import re
import shutil

import hf_encoders
import inprocess
import pytest
import toy
from classifiers import logits_of
from same_end import assert_same_weights

from mixkd_plugin.tools.compare.compare import compare
from mixkd_plugin.tools.export.export import export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory, transformers):
    """Classifiers of two families, and the toy task's text and labels."""
    root = tmp_path_factory.mktemp("hf")
    for kind in ("bert", "deberta-v2"):
        hf_encoders.write_classifier(kind, root / kind, transformers)
    return root


def accuracy_of(folder, data, transformers):
    """By transformers alone, of the raw text of the split valid."""
    files = (data / "raw" / f"valid.{name}" for name in ("text", "label"))
    texts, labels = (file.read_text().splitlines() for file in files)
    found = logits_of(folder, [(text,) for text in texts], transformers).argmax(dim=1).tolist()
    return 100 * sum(str(f) == label for f, label in zip(found, labels)) / len(labels)


def test_teachers_in_an_ensemble(
    tmp_path, transformers, folders, classification, teacher, loads, monkeypatch
):
    bert = f"hf:{shutil.copytree(folders / 'bert', tmp_path / 'bert')}"
    flags = ["--kd-weight", 1, "--tmkd-weight", 1, "--teacher-cache", tmp_path / "cache"]
    wanted = accuracy_of(folders / "bert", classification, transformers)

    def run(name, teachers, *more):
        return toy.fit(classification, tmp_path / name, *flags, "--teacher-path", teachers, *more)

    log = run("one", bert, "--max-epoch", 1)
    assert toy.last_values(log, "valid")["teacher_accuracy"] == pytest.approx(wanted, abs=0.06)

    together = f"{bert}:{teacher}:hf:{folders / 'deberta-v2'}"
    whole = run("whole", together)
    assert len(loads) == 2 and len(loads[1]) == 3
    again = run("again", together)
    assert len(loads) == 2, "all logits are in the cache"
    with monkeypatch.context() as patch:
        patch.setattr("mixkd_plugin.teacher.build.version", lambda _: "another")
        run("by another transformers", together, "--max-epoch", 1)
    assert len(loads) == 3
    values = [toy.last_values(log, "valid") for log in (whole, again)]
    assert values[0]["kd_loss"] == values[1]["kd_loss"]
    run("halved", together, "--max-epoch", 1)
    run("halved", together)
    assert_same_weights(*(tmp_path / name for name in ("whole", "again", "halved")))
    assert not any("network" in name for name in inprocess.checkpoint(tmp_path / "whole")["model"])

    config = tmp_path / "bert" / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(ValueError, match="--teacher-path: hf:.*bert has changed since"):
        run("halved", together, "--max-epoch", 3)
    with pytest.raises(ValueError, match="--teacher-path hf:.*2 classes, --num-classes is 3"):
        run("three", bert, "--num-classes", 3)


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_a_student(tmp_path, transformers, folders, classification, teacher, kind):
    folder = shutil.copytree(folders / kind, tmp_path / "hf")
    flags = [
        "--arch", "mixkd_hf", "--hf-model", folder, "--encoder-layers", 1, "--kd-weight", 1,
        "--tmkd-weight", 1, "--teacher-path", teacher,
    ]  # fmt: skip

    def run(name, *more):
        return toy.fit(classification, tmp_path / name, *flags, *more)

    log = run("whole")
    assert log.count("padding is computed, too") == 1
    assert "layers [0] of" in log and "with its head of 2 outputs" in log
    run("halved", "--max-epoch", 1)
    run("halved")
    assert_same_weights(tmp_path / "whole", tmp_path / "halved")
    config = folder / "config.json"
    before = config.read_text()
    config.write_text(before.replace('"gelu"', '"relu"'))
    with pytest.raises(ValueError, match="--hf-model's hidden_act must be gelu"):
        run("halved", "--max-epoch", 3)
    config.write_text(before)

    shutil.copy(classification / "input0" / "dict.txt", folder)
    path = tmp_path / "whole" / "checkpoint_last.pt"
    export(str(path), str(tmp_path / "out"), "hf", f"hf:{folder}")
    served = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    original = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(served) is type(original)
    with pytest.raises(ValueError, match="--to must be hf"):
        export(str(path), str(tmp_path / "onnx"), "onnx", f"hf:{folder}")

    shutil.rmtree(folder)  # a trained student does not need it
    valid = inprocess.validate(*toy.validate_flags(classification, path, "--batch-size", 16))
    reached = re.search(r"accuracy ([\d.]+)", valid)[1]
    assert float(reached) == toy.last_values(log, "valid")["accuracy"]
    of_served = accuracy_of(tmp_path / "out", classification, transformers)
    assert of_served == pytest.approx(float(reached), abs=0.06)
    rows, _ = compare(
        str(classification),
        {"student": str(path), "served": f"hf:{tmp_path / 'out'}"},
        "student",
        rounds=1,
    )
    assert rows["served"]["agreement"] == 100
    assert rows["served"]["accuracy"] == pytest.approx(float(reached), abs=0.06)

    taught = toy.train_flags(
        classification, tmp_path / "taught", "--kd-weight", 1, "--max-epoch", 1,
        "--teacher-path", path,
    )  # fmt: skip
    log = inprocess.run_training(taught)
    assert toy.last_values(log, "valid")["teacher_accuracy"] == float(reached)
