"""import_hf: a source that cannot be imported is refused by name, and nothing is written."""

import functools
import os

import pytest
import torch
from bert_source import VOCABULARY, WIDTH, random_weights, write_source
from refusals import import_refused

from mixkd_plugin.tools.import_hf.import_hf import import_encoder


def without(name):
    state = random_weights()
    del state[name]
    return state


def with_extra(name):
    return {**random_weights(), name: torch.zeros(1)}


def misshapen(name):
    return {**random_weights(), name: torch.zeros(2, 2)}


KEY = "encoder.layer.1.attention.self.key.weight"
REFUSALS = {
    "model_type": ({"config": {"model_type": "gpt2"}}, "got 'gpt2'"),
    "activation": (
        {"config": {"hidden_act": "silu"}},
        "hidden_act must be gelu, gelu_new, gelu_pytorch_tanh, relu, got 'silu'",
    ),
    "relative positions": (
        {"config": {"position_embedding_type": "relative_key"}},
        "position_embedding_type must be absolute, got 'relative_key'",
    ),
    "three types": ({"config": {"type_vocab_size": 3}}, "type_vocab_size must be 1 or 2, got 3"),
    "decoder": ({"config": {"is_decoder": True}}, "is_decoder must be False, got True"),
    "no width": ({"config": {"hidden_size": None}}, "hidden_size"),
    "epsilon": ({"config": {"layer_norm_eps": 0.0}}, "layer_norm_eps must be a number"),
    "missing weight": ({"state": without(KEY)}, f"the weights lack {KEY}"),
    "fewer layers": ({"config": {"num_hidden_layers": 2}}, "a RoBERTa's, got encoder.layer.2"),
    "extra weight": ({"state": with_extra("adapter.weight")}, "a RoBERTa's, got adapter.weight"),
    "shape": (
        {"state": misshapen(KEY)},
        f"{KEY} must have the shape ({WIDTH}, {WIDTH}), got (2, 2)",
    ),
    "no [MASK], and no row left": (
        {"vocabulary": ["x" if s == "[MASK]" else s for s in VOCABULARY]},
        "last index, 15",
    ),
    "vocabulary too long": ({"vocabulary": [*VOCABULARY, "x"]}, "last index, 15 ('x'), got 15"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_what_is_wrong(tmp_path, case):
    changes, message = REFUSALS[case]
    write_source(tmp_path / "hf", **changes)
    import_refused(tmp_path, message)


def test_missing_files_and_wrong_sources(tmp_path):
    refuse = functools.partial(import_refused, tmp_path)
    refuse("it must be a folder, an installed Python package", source="nowhere")
    source = write_source(tmp_path / "hf")
    (source / "pytorch_model.bin").write_bytes(b"not weights")
    refuse("pytorch_model.bin cannot be read as weights")
    (source / "pytorch_model.bin").unlink()
    refuse("must have model.safetensors or pytorch_model.bin")
    (source / "config.json").write_text("{")
    refuse("config.json")
    (source / "config.json").unlink()
    refuse("no config.json in")
    with pytest.raises(ValueError, match="package 'json' carries 0 folders"):
        import_encoder("json", str(tmp_path / "out"))


def test_weights_that_would_run_code_are_refused(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    write_source(tmp_path / "hf", state={"x": Malicious()})
    import_refused(tmp_path, "cannot be read as weights")
    assert not (tmp_path / "owned").exists()
