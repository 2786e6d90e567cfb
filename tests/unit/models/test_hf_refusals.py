"""Hugging Face folders, and settings of checkpoints, that cannot be a teacher or a student."""

import shutil
import sys
from types import SimpleNamespace

import hf_encoders
import hf_models
import pytest
import torch
from hf_encoders import dictionary_of
from refusals import Call
from toy import WORDS

from mixkd_plugin.models.hf_folder import read_as_checkpoint
from mixkd_plugin.models.rebuild import build

HEAD = "head"


@pytest.fixture(scope="module")
def bert(tmp_path_factory, transformers):
    folder = tmp_path_factory.mktemp("bert")
    hf_encoders.write_classifier("bert", folder, transformers, id2label={0: "very bad", 1: "good"})
    return folder


CASES = {
    "decoder": ({"model_type": "gpt2"}, "model_type", "gpt2"),
    "decoder's layers": ({"is_decoder": True}, "is_decoder", "encoder"),
    "no inputs_embeds": ({"model_type": "perceiver"}, "inputs_embeds", "perceiver"),
    "no text": ({"model_type": "vit"}, "model_type", "vit"),
    "another head": ({"architectures": ["BertForTokenClassification"]}, "architectures", "Token"),
    "no head": ({"architectures": ["BertModel"]}, "architectures", "BertModel"),
    "own code": ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map", "own code"),
    "quantised": ({"quantization_config": {"bits": 4}}, "quantization_config"),
    "classes": ({"num_labels": 10**9}, "num_labels"),
    "names": ({"id2label": {"1": "a", "2": "b"}}, "id2label must have a text for each"),
    "width": ({"hidden_size": 10**6}, "config.json"),
    "layers": ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
    "one layer less": ({"num_hidden_layers": 1}, "config.json", "layer.1"),
    "one layer more": ({"num_hidden_layers": 3}, "weights lack", "layer.2"),
    "types": ({"type_vocab_size": 3}, "config.json", "token_type_embeddings"),
    "activation": ({"hidden_act": "no_such"}, "transformers cannot"),
}


@pytest.mark.parametrize("case", CASES)
def test_configurations(tmp_path, bert, case):
    values, *messages = CASES[case]
    folder = shutil.copytree(bert, tmp_path / "hf")
    hf_models.change(folder / "config.json", **values)
    with pytest.raises(ValueError) as error:
        read_as_checkpoint(str(folder), dictionary_of(), HEAD, None)
    assert all(message in str(error.value) for message in messages), error.value
    assert "\n" not in str(error.value) and len(str(error.value)) < 800


def test_files(tmp_path, bert):
    def refused(match, change):
        folder = shutil.copytree(bert, tmp_path / "hf")
        change(folder)
        with pytest.raises(ValueError, match=match):
            read_as_checkpoint(str(folder), dictionary_of(), HEAD, None)
        shutil.rmtree(folder, ignore_errors=True)

    def pickled(folder):
        (folder / "model.safetensors").unlink()
        torch.save({"x": Call(print, "it ran")}, folder / "pytorch_model.bin")

    refused("tokenizer.json", lambda folder: (folder / "tokenizer.json").unlink())
    refused("config.json", lambda folder: (folder / "config.json").unlink())
    refused("model.safetensors", lambda folder: (folder / "model.safetensors").unlink())
    refused("pytorch_model.bin cannot be read", pickled)
    own_code = {"auto_map": {"AutoTokenizer": ["code.T", None]}}
    refused(
        "auto_map", lambda folder: hf_models.change(folder / "tokenizer_config.json", **own_code)
    )
    refused("must be a folder", shutil.rmtree)


def test_another_vocabulary(bert):
    for words in (["other", *WORDS[1:]], [*WORDS, "more"], WORDS[1:]):
        with pytest.raises(ValueError, match="vocabulary.*--teacher-data"):
            read_as_checkpoint(str(bert), dictionary_of(words), HEAD, None)
    filled = dictionary_of([*WORDS, "madeupword0000"])  # a row that no text reaches
    weights = read_as_checkpoint(str(bert), filled, HEAD, None)["model"]
    assert len(weights["embed_tokens.weight"]) == len(filled)


def test_the_order_of_classes(tmp_path, bert):
    """Names that differ by case alone, and numbers, are the data's; others stay the folder's.

    Where the folder's are the same numbers, they declare an order."""
    bert = shutil.copytree(bert, tmp_path / "hf")

    def recorded(*labels):
        state = read_as_checkpoint(str(bert), dictionary_of(), HEAD, list(labels))
        return state["fingerprint"]["labels"]

    for labels in (("very_bad", "good"), ("Very_Bad", "GOOD"), ("0", "1")):
        assert recorded(*labels) == list(labels)
    for labels in (("good", "very_bad"), ("bad", "good"), ("1", "0")):
        assert recorded(*labels) == ["very_bad", "good"]
    hf_models.change(bert / "config.json", id2label={0: "1", 1: "0"})
    for labels in (("0", "1"), ("1", "0")):
        assert recorded(*labels) == ["1", "0"]
    hf_models.change(bert / "config.json", id2label={0: "a", 1: "A"})
    assert recorded("A", "a") == ["a", "A"]  # two classes that differ by case alone


def test_more_than_two_types(tmp_path, transformers):
    hf_encoders.write_classifier("bert", tmp_path, transformers, type_vocab_size=3)
    with pytest.raises(ValueError, match="type_vocab_size must be at most 2, got 3"):
        read_as_checkpoint(str(tmp_path), dictionary_of(), HEAD, None)


def test_a_model_whose_logits_change_with_padding(tmp_path, transformers):
    """FNet takes inputs_embeds, and has no mask."""
    sizes = {**hf_encoders.SIZES, "type_vocab_size": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(hf_encoders.FAMILIES, "fnet", ("FNet", sizes, True))
        hf_encoders.write_classifier("fnet", tmp_path, transformers)
    with pytest.raises(ValueError, match="whatever the padding"):
        read_as_checkpoint(str(tmp_path), dictionary_of(), HEAD, None)


def test_without_transformers(bert, monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "transformers"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"mixkd_plugin\[interop\]"):
        read_as_checkpoint(str(bert), dictionary_of(), HEAD, None)


SETTINGS = {
    "no configuration": (None, "hf_config"),
    "a text": ("bert", "hf_config"),
    "names": ({"a b": 1}, "hf_config"),
    "own code": ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map"),
    "evaluated": ({"hidden_act": "${oc.env:HOME}"}, "hidden_act"),
    "decoder": ({"model_type": "gpt2"}, "decoder"),
    "width": ({"hidden_size": 2 * 10**5, "num_attention_heads": 1}, "weights"),
    "layers": ({"num_hidden_layers": 900}, "weights"),
    "other layers": ({"num_hidden_layers": 1}, "layer.1"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_of_a_checkpoint(bert, case):
    values, message = SETTINGS[case]
    state = read_as_checkpoint(str(bert), dictionary_of(), HEAD, None)
    settings = dict(state["cfg"]["model"])
    merged = isinstance(values, dict) and case != "names"
    settings["hf_config"] = {**settings["hf_config"], **values} if merged else values
    task = SimpleNamespace(source_dictionary=dictionary_of())
    with pytest.raises(ValueError, match=message):
        build(settings, state["model"], HEAD, 2, task)
