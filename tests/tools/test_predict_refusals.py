"""What predict refuses of a model: its predictions would be wrong, with no warning."""

from types import SimpleNamespace

import hf_models
import numpy
import pytest
from refusals import error_of

from mixkd_plugin.__main__ import main
from mixkd_plugin.tools.predict import students


def test_an_encoder_without_a_head_is_refused(tmp_path, transformers):
    """transformers would give it a random one."""
    hf_models.make("bert", tmp_path / "bert", transformers, head="")
    (tmp_path / "a.txt").write_text("the soup\n")
    said = error_of(main, "predict", tmp_path / "bert", tmp_path / "a.txt")
    assert "bert must be a classifier with all weights" in said and "classifier." in said


@pytest.mark.parametrize("names", [{"0": "a", "2": "b"}, {"a": "a", "b": "b"}])
def test_names_of_classes_that_are_not_those_of_the_outputs(tmp_path, transformers, names):
    hf_models.make("bert", tmp_path / "bert", transformers, num_labels=2)
    hf_models.change(tmp_path / "bert" / "config.json", id2label=names)
    (tmp_path / "a.txt").write_text("the soup\n")
    said = error_of(main, "predict", tmp_path / "bert", tmp_path / "a.txt")
    assert "id2label must have a text for each of the outputs" in said and f"got {names}" in said
    (tmp_path / "dev.csv").write_text("text,label\nthe soup,a\ncold,b\n")
    words = ["import", tmp_path / "bert", "--dev", tmp_path / "dev.csv", "--out", tmp_path / "out"]
    assert "id2label must have a text for each of the outputs" in error_of(main, *words)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"id2label": 5}, "id2label must have a text for each of the outputs 0, 1, ..., got 5: "),
        ({"id2label": {"0": None, "1": "b"}}, "got {'0': None, '1': 'b'}: change it in config.js"),
        ({"id2label": None, "num_labels": "3"}, "num_labels must be the number of classes, got '3"),
        ({"id2label": None, "num_labels": -1}, "num_labels must be the number of classes, got -1"),
    ],
)
def test_settings_of_outputs_that_are_no_such_kind(tmp_path, transformers, wrong, said):
    hf_models.make("bert", tmp_path / "bert", transformers, num_labels=2)
    hf_models.change(tmp_path / "bert" / "config.json", **wrong)
    (tmp_path / "a.txt").write_text("the soup\n")
    assert said in error_of(main, "predict", tmp_path / "bert", tmp_path / "a.txt")


def test_weights_that_are_damaged_or_do_not_fit(tmp_path, transformers):
    """Such as what git has in the place of a large file."""
    folder = tmp_path / "bert"
    hf_models.make("bert", folder, transformers, num_labels=2)
    (tmp_path / "a.txt").write_text("the soup\n")
    hf_models.change(folder / "config.json", intermediate_size=8)
    said = error_of(main, "predict", folder, tmp_path / "a.txt")
    assert f"STUDENT {folder}: config.json must fit the shape of the weights, got another" in said
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    said = error_of(main, "predict", folder, tmp_path / "a.txt")
    assert f"STUDENT {folder}: transformers cannot read the model: " in said
    pytest.importorskip("onnxruntime")
    (folder / "model.safetensors").rename(folder / "model.onnx")
    said = error_of(main, "predict", folder, tmp_path / "a.txt")
    assert f"STUDENT {folder}: onnxruntime cannot read {folder / 'model.onnx'}: " in said


@pytest.mark.parametrize("kind", ["hf", "onnx"])
def test_a_model_that_gives_nan_is_refused(tmp_path, transformers, monkeypatch, kind):
    safetensors = pytest.importorskip("safetensors.torch")
    folder = tmp_path / "bert"
    hf_models.make("bert", folder, transformers, num_labels=2)
    (tmp_path / "a.txt").write_text("the soup\n")
    if kind == "hf":
        weights = safetensors.load_file(folder / "model.safetensors")
        weights["classifier.bias"][0] = float("nan")
        safetensors.save_file(weights, folder / "model.safetensors", {"format": "pt"})
        assert "its weights are not all finite" in error_of(
            main, "predict", folder, tmp_path / "a.txt"
        )
        return
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").touch()
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="input_ids")],
        run=lambda _, inputs: [numpy.full((len(inputs["input_ids"]), 2), numpy.nan)],
    )
    monkeypatch.setattr(students, "onnx_session", lambda _: session)
    said = error_of(main, "predict", folder, tmp_path / "a.txt")
    assert "STUDENT must give finite numbers, got nan" in said


def test_a_slow_tokenizer_is_refused(tmp_path, transformers):
    folder = tmp_path / "canine"
    config = transformers.CanineConfig(**hf_models.SIZES, num_hash_buckets=64)
    transformers.CanineForSequenceClassification(config).save_pretrained(folder)
    transformers.CanineTokenizer().save_pretrained(folder)
    (tmp_path / "a.txt").write_text("the soup\n")
    said = error_of(main, "predict", folder, tmp_path / "a.txt")
    assert "must be a fast tokenizer" in said and "CanineTokenizer" in said
