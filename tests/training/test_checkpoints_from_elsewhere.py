"""Checkpoints as others have them: published heads, old meters, padded labels, other words."""

import argparse
import shutil
from pathlib import Path

import pytest
import taught
import torch
import toy
from fairseq import checkpoint_utils
from omegaconf import OmegaConf
from refusals import FINE_TUNE, KD, accepts, refusal
from slow_cases import slow
from taught import of_data
from toy import HEAD, TEACHER

from mixkd_plugin.tools import scoring
from mixkd_plugin.tools.batches import make_batches
from mixkd_plugin.tools.compare import compare
from mixkd_plugin.tools.export import export


@pytest.fixture(scope="module")
def published(tmp_path_factory, teacher):
    """As roberta.large.mnli: names of 2019, the head mnli, and no head's name in its settings."""
    state = torch.load(teacher)
    weights = taught.names_of_2019(state["model"])
    names = {name.replace(HEAD, "mnli"): weight for name, weight in weights.items()}
    saved = taught.published(state, names)
    del saved["args"].classification_head_name
    path = tmp_path_factory.mktemp("published") / "model.pt"
    torch.save(saved, path)
    return path


def test_a_published_teacher(tmp_path, classification, published):
    named = [*KD, "--teacher-path", published, "--classification-head-name", "mnli"]
    accepts(classification, tmp_path / "s", *named)
    message = refusal(classification, tmp_path / "s", *KD, "--teacher-path", published)
    assert HEAD in message and "mnli" in message


@pytest.mark.parametrize(
    "part, name, value",
    [
        ("extra_state", "best", "much"),
        ("extra_state", "val_loss", "little"),
        ("extra_state", "train_iterator", {"epoch": "one"}),
        ("extra_state", "train_iterator", "one"),
        ("extra_state", "previous_training_time", [1]),
        ("task_state", "patience", {"best": "much", "num_runs": 1}),
    ],
)
def test_a_run_with_texts_for_numbers_does_not_go_on(
    tmp_path, classification, teacher, part, name, value
):
    with toy.edited(teacher, tmp_path / "c.pt") as state:
        state[part][name] = value
    message = refusal(classification, tmp_path / "s", "--restore-file", tmp_path / "c.pt")
    assert message.startswith(f"--restore-file: {tmp_path}/c.pt is damaged: its ")


def test_a_published_student_begins(tmp_path, classification, published):
    flags = [*FINE_TUNE, "--student-init-path", published, "--classification-head-name", "mnli"]
    accepts(classification, tmp_path / "s", *flags)


def test_a_published_one_is_compared_and_exported(tmp_path, classification, teacher, published):
    paths = {"a": str(teacher), "b": str(published)}
    for head in (None, "mnli"):
        given = {"b": str(published)} if head else paths
        rows, _ = compare.compare(str(classification), given, "b", rounds=1, head=head)
        assert rows["b"]["agreement"] == 100
    loaded = [scoring.load(path, str(classification)) for path in paths.values()]
    batch = make_batches(loaded[0].task, "valid", 8)[0]
    torch.testing.assert_close(loaded[0].logits(batch), loaded[1].logits(batch))
    served = export.load(str(published), str(classification), "mnli")
    assert served.task.cfg.classification_head_name == "mnli"
    with pytest.raises(ValueError, match="--classification-head-name must .* mnli, got 'sst'"):
        scoring.load(str(published), str(classification), "sst")


def with_head(path, source, classes, **settings):
    """A copy whose head has so many outputs."""
    with toy.edited(source, path) as state:
        prefix = f"classification_heads.{HEAD}.out_proj."
        for kind in ("weight", "bias"):
            rows = state["model"][prefix + kind]
            state["model"][prefix + kind] = rows[:1].repeat(classes, *[1] * (rows.dim() - 1))
        state["cfg"]["task"].update(settings)
    return str(path)


@pytest.mark.parametrize("settings", [{}, {"num_classes": 3}, {"num_classes": 5}])
def test_a_head_of_another_size_is_no_random_one(tmp_path, classification, teacher, settings):
    path = with_head(tmp_path / "t.pt", teacher, 3, **settings)
    for load in (scoring.load, export.load):
        with pytest.raises(ValueError) as error:
            load(path, str(classification))
        assert path in str(error.value) and "3 outputs" in str(error.value)
    assert "3 classes" in refusal(classification, tmp_path / "s", *KD, "--teacher-path", path)


def test_a_head_that_lacks_a_part_is_no_random_one(tmp_path, classification, teacher):
    with toy.edited(teacher, tmp_path / "t.pt") as state:
        del state["model"][f"classification_heads.{HEAD}.dense.bias"]
    with pytest.raises(ValueError, match="t.pt.*dense.bias"):
        scoring.load(str(tmp_path / "t.pt"), str(classification))
    flags = [*KD, "--teacher-path", tmp_path / "t.pt"]
    assert "dense.bias" in refusal(classification, tmp_path / "s", *flags)


@pytest.mark.parametrize("model", ["roberta", "mixkd_roberta"])
def test_a_teacher_trained_with_quantisation_noise(tmp_path, classification, model):
    """It has one layer more: its logits are fairseq's, and no student begins without the layer."""
    flags = ["--arch", model, *TEACHER[2:], "--quant-noise-pq", 0.2, "--max-update", 1]
    toy.fit(classification, tmp_path, *flags, task="sentence_prediction")
    path = str(tmp_path / "checkpoint_last.pt")
    loaded = scoring.load(path, str(classification))
    batch = make_batches(loaded.task, "valid", 8)[0]
    (expected,), _ = checkpoint_utils.load_model_ensemble([path])
    asked = dict(features_only=True, classification_head_name=HEAD)
    with torch.no_grad():
        wanted, _ = expected.eval()(**batch["net_input"], **asked)
    torch.testing.assert_close(loaded.logits(batch), wanted)
    message = refusal(classification, tmp_path / "s", *FINE_TUNE, "--student-init-path", path)
    assert "quant_noise.weight" in message


def test_spectral_norm_is_named(tmp_path, classification, teacher):
    with toy.edited(teacher, tmp_path / "t.pt") as state:
        weight = state["model"].pop(f"classification_heads.{HEAD}.out_proj.weight")
        state["model"][f"classification_heads.{HEAD}.out_proj.weight_orig"] = weight
    flags = [*KD, "--teacher-path", tmp_path / "t.pt"]
    assert "--spectral-norm" in refusal(classification, tmp_path / "s", *flags)
    for load in (scoring.load, export.load):
        with pytest.raises(ValueError, match="t.pt.*--spectral-norm"):
            load(str(tmp_path / "t.pt"), str(classification))


def test_settings_that_are_an_object_of_omegaconf(tmp_path, classification, teacher):
    with toy.edited(teacher, tmp_path / "t.pt") as state:
        state["cfg"]["model"] = OmegaConf.create(vars(state["cfg"]["model"]))
    accepts(classification, tmp_path / "s", *KD, "--teacher-path", tmp_path / "t.pt")


def test_settings_without_a_task(tmp_path, classification, teacher):
    with toy.edited(teacher, tmp_path / "t.pt") as state:
        state["args"] = argparse.Namespace(**{**vars(state["cfg"]["model"]), "task": None})
        state["cfg"] = None
    with pytest.raises(ValueError, match="--task must be .*, got None"):
        scoring.load(str(tmp_path / "t.pt"), str(classification))


# --- labels ---


def pad_labels(data):
    with open(Path(data) / "label" / "dict.txt", "a") as file:
        file.write("madeupword0000 0\nmadeupword0001 0\n")


@pytest.mark.parametrize("padded", ["both", *slow("data", "teacher")])
def test_padding_is_no_class(tmp_path, classification, teacher, padded):
    data = toy.copy_data(classification, tmp_path / "data")
    theirs = toy.copy_data(classification, tmp_path / "theirs")
    for name, folder in (("data", data), ("teacher", theirs)):
        if padded in (name, "both"):
            pad_labels(folder)
    path = of_data(tmp_path / "t.pt", teacher, theirs)
    accepts(data, tmp_path / "s", *KD, "--teacher-path", path)
    assert scoring.load(str(path), str(data)).task.cfg.num_classes == 2
    own = tmp_path / "own"  # a teacher of our task records its classes
    toy.fit(theirs, own, *FINE_TUNE, "--max-update", 1)
    shutil.rmtree(theirs)
    accepts(data, tmp_path / "s", *KD, "--teacher-path", own / "checkpoint_last.pt")


@pytest.mark.parametrize("theirs", ["1 1\n0 1\n", "0 1\n2 1\n", "0 1\nmadeupword0000 0\n1 1\n"])
def test_other_classes_are_shown_with_the_cure(tmp_path, classification, teacher, theirs):
    folder = toy.copy_data(classification, tmp_path / "theirs")
    (folder / "label" / "dict.txt").write_text(theirs)
    path = of_data(tmp_path / "t.pt", teacher, folder)
    message = refusal(classification, tmp_path / "s", *KD, "--teacher-path", path)
    names = [line.split()[0] for line in theirs.splitlines()]
    assert str(names) in message and "['0', '1']" in message and "--labels" in message


def test_a_relative_folder_of_another_place(tmp_path, monkeypatch, classification, teacher):
    """Here it is the student's own data; what is beside the checkpoint counts."""
    toy.copy_data(classification, tmp_path / "data")
    (tmp_path / "teacher" / "label").mkdir(parents=True)
    (tmp_path / "teacher" / "label" / "dict.txt").write_text("1 1\n0 1\n")
    path = of_data(tmp_path / "teacher" / "t.pt", teacher, "data")
    monkeypatch.chdir(tmp_path)
    message = refusal("data", tmp_path / "s", *KD, "--teacher-path", path)
    assert "['1', '0']" in message and "teacher/label/dict.txt" in message


DAMAGED = [b"a b c\n", b"", b"\xff\xfe\n", b"a 1\na 1\n", b"x" * 10]


@pytest.mark.parametrize(
    "name, content", [("label", DAMAGED[0]), *(("input0", content) for content in DAMAGED)]
)
def test_a_damaged_dictionary_is_named(tmp_path, classification, teacher, name, content):
    folder = toy.copy_data(classification, tmp_path / "theirs")
    (folder / name / "dict.txt").write_bytes(content)
    path = of_data(tmp_path / "t.pt", teacher, folder)
    message = refusal(classification, tmp_path / "s", *KD, "--teacher-path", path)
    assert str(folder / name / "dict.txt") in message
