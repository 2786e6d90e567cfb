"""Hugging Face folders that cannot be followed, or are made to harm: one sentence, at once."""

import json
import os
import resource
import time

import hf_models
import pytest
import torch
from bert_source import VOCABULARY, WIDTH, random_weights, write_source
from refusals import import_refused

WORDS = "embeddings.word_embeddings.weight"


def refused(tmp_path, *messages):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert len(import_refused(tmp_path, *messages)) < 1500
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def with_weight(name, tensor):
    """Or without it, for None."""
    state = {**random_weights(), name: tensor}
    return {name: value for name, value in state.items() if value is not None}


def classifier(**extra):
    config = {"architectures": ["BertForSequenceClassification"]}
    weights = {"classifier.weight": torch.ones(2, 24), "classifier.bias": torch.ones(2), **extra}
    return {"config": config, "state": {**random_weights(), **weights}}


BIAS, KEY = "encoder.layer.0.output.dense.bias", "encoder.layer.1.attention.self.key.weight"
NO_MASK = ["x" if s == "[MASK]" else s for s in VOCABULARY]
FOLDERS = {
    "model_type": ({"config": {"model_type": "gpt2"}}, "got 'gpt2'"),
    "activation": ({"config": {"hidden_act": "silu"}},
                   "hidden_act must be gelu, gelu_new, gelu_pytorch_tanh, relu, got 'silu'"),
    "relative positions": ({"config": {"position_embedding_type": "relative_key"}},
                           "position_embedding_type must be absolute, got 'relative_key'"),
    "three types": ({"config": {"type_vocab_size": 3}}, "type_vocab_size must be 1 or 2, got 3"),
    "decoder": ({"config": {"is_decoder": True}}, "is_decoder must be False, got True"),
    "no width": ({"config": {"hidden_size": None}}, "hidden_size"),
    "epsilon": ({"config": {"layer_norm_eps": 0.0}}, "layer_norm_eps must be a number"),
    "missing weight": ({"state": with_weight(KEY, None)}, f"the weights lack {KEY}"),
    "fewer layers": ({"config": {"num_hidden_layers": 2}}, "a RoBERTa's, got encoder.layer.2"),
    "extra weight": ({"state": with_weight("adapter.weight", torch.zeros(1))},
                     "a RoBERTa's, got adapter.weight"),
    "shape": ({"state": with_weight(KEY, torch.zeros(2, 2))},
              f"{KEY} must have the shape ({WIDTH}, {WIDTH}), got (2, 2)"),
    "no [MASK], and no row left": ({"vocabulary": NO_MASK}, "last index, 15"),
    "vocabulary too long": ({"vocabulary": [*VOCABULARY, "x"]}, "last index, 15 ('x'), got 15"),
    "vocab_size": ({"config": {"vocab_size": 10**12}}, WORDS),
    "vocab_size as text": ({"config": {"vocab_size": "15"}}, "vocab_size"),
    "positions": ({"config": {"max_position_embeddings": 10**12}}, "position_embeddings"),
    "types": ({"config": {"type_vocab_size": 10**12}}, "type_vocab_size"),
    "feed-forward": ({"config": {"intermediate_size": 2 * 10**9}}, "intermediate.dense"),
    "layers": ({"config": {"num_hidden_layers": 10**6}}, "the weights lack encoder.layer.3"),
    "width": ({"config": {"hidden_size": 4 * 10**9}}, WORDS),
    "pad_token_id": ({"config": {"pad_token_id": "x"}}, "pad_token_id"),
    "not finite": ({"state": with_weight(BIAS, torch.full((24,), float("nan")))}, BIAS, "NaN"),
    "infinite": ({"state": with_weight(WORDS, torch.full((15, 24), float("inf")))}, WORDS),
    "whole numbers": ({"state": with_weight(BIAS, torch.ones(24).long())}, BIAS, "int64"),
    "sparse": ({"state": with_weight(WORDS, torch.ones(15, 24).to_sparse())}, "_rebuild_sparse"),
    "meta": ({"state": with_weight(BIAS, torch.ones(24, device="meta"))}, "_rebuild_meta"),
    "repeated": ({"state": with_weight(BIAS, torch.ones(1).expand(24))}, BIAS),
    "0-dim": (classifier(**{"classifier.weight": torch.tensor(1.0)}), "classifier.weight"),
    "int keys": ({"state": {**random_weights(), 7: torch.ones(1)}}, "tensors by name"),
    "no tensor": ({"state": {**random_weights(), "x": [1]}}, "tensors by name"),
    "a list": ({"state": [torch.ones(1)]}, "cannot be read as weights"),
    "quantised": ({"config": {"quantization_config": {"bits": 4}}}, "quantization_config"),
    "several outputs": (classifier(**{"classifier.weight": torch.ones(3, 24)}), "--labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_configurations_and_weights(tmp_path, case):
    changes, *messages = FOLDERS[case]
    write_source(tmp_path / "hf", **changes)
    refused(tmp_path, *messages)


@pytest.mark.parametrize("index", [4 * 10**8, -1, 1.5])
@pytest.mark.parametrize("file", ["vocab.json", "tokenizer.json"])
def test_indices(tmp_path, transformers, index, file):
    source = tmp_path / "hf"
    hf_models.make("roberta", source, transformers)
    if file == "tokenizer.json":
        transformers.AutoTokenizer.from_pretrained(source).save_pretrained(source)
    content = json.loads((source / file).read_text(encoding="utf-8"))
    vocabulary = content if file == "vocab.json" else content["model"]["vocab"]
    vocabulary["zzz"] = index
    (source / file).write_text(json.dumps(content), encoding="utf-8")
    refused(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"added_tokens_decoder": {"400000000": {"content": "[E1]", "special": True}}},
        {"added_tokens_decoder": {"1.5": {"content": "[E1]", "special": True}}},
        {"added_tokens_decoder": [1]},
        {"added_tokens_decoder": {"3": 7}},
        {"tokenizer_class": 7},
        {"cls_token": 7},
        {"cls_token": {"content": None}},
        {"additional_special_tokens": 7},
    ],
)
def test_settings_of_the_tokenizer(tmp_path, settings):
    source = write_source(tmp_path / "hf")
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    refused(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, "", "null", '"x"', "\udcff"])
def test_files_that_are_not_what_they_should_be(tmp_path, name, content):
    source = write_source(tmp_path / "hf")
    (source / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    refused(tmp_path)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "vocab.txt", "added_tokens.json"]
)
def test_a_pipe_is_no_file(tmp_path, name):
    source = write_source(tmp_path / "hf")
    (source / name).unlink(missing_ok=True)
    os.mkfifo(source / name)
    refused(tmp_path, name)


def test_weights_that_unpack_to_more(tmp_path):
    import zipfile

    source = write_source(tmp_path / "hf")
    with zipfile.ZipFile(source / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**8))
    refused(tmp_path, "pytorch_model.bin", "unpack")


def test_one_damaged_bit(tmp_path):
    source = write_source(tmp_path / "hf")
    content = bytearray((source / "pytorch_model.bin").read_bytes())
    at = content.find(random_weights()[WORDS].numpy().tobytes()[:64])
    content[at + 40] ^= 16
    (source / "pytorch_model.bin").write_bytes(content)
    refused(tmp_path, "checksum")
