"""import_hf: sources of every family that cannot be followed; files of others, a full disk."""

import functools
import os

import hf_models
import pytest
from bert_source import write_source
from refusals import Call, error_of, import_refused, small_files

from mixkd_plugin.tools.import_hf import main
from mixkd_plugin.tools.import_hf.import_hf import import_encoder


def test_too_few_labels_and_no_tokenizer(tmp_path, transformers):
    hf_models.make("distilbert", tmp_path / "hf", transformers, num_labels=3)
    import_refused(tmp_path, "--labels must have 3 different names", labels=["a", "b"])
    (tmp_path / "hf" / "vocab.txt").unlink()
    import_refused(tmp_path, "must have tokenizer.json, or vocab.txt")


def test_a_tokenizer_lacks_a_file(tmp_path, transformers):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    (tmp_path / "hf" / "merges.txt").unlink()
    import_refused(tmp_path, "both")


def test_a_full_disk_leaves_nothing(tmp_path, transformers):
    hf_models.make("distilbert", tmp_path / "hf", transformers)
    with small_files(50_000):
        said = error_of(main, tmp_path / "hf", tmp_path / "out")
    assert "out cannot be written" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pad_token_id": 0}, "pad_token_id must be the tokenizer's, 1, got 0"),
        ({"num_attention_heads": 5}, "num_attention_heads must be a divisor of 24, got 5"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be an integer in [1, inf), got 0"),
        ({"hidden_dropout_prob": "a"}, "hidden_dropout_prob"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps"),
        ({"id2label": {"0": "a", "5": "b"}},
         "each of the outputs 0, 1, ..., got {'0': 'a', '5': 'b'}: --labels"),
        ({"id2label": {"0": "a b", "1": "a_b"}}, "id2label must have 2 different names"),
        ({"model_type": ["bert"]}, "got ['bert']"),
    ],
)  # fmt: skip
def test_configurations_that_cannot_be(tmp_path, transformers, changes, message):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    hf_models.change(tmp_path / "hf" / "config.json", **changes)
    import_refused(tmp_path, message)


@pytest.mark.parametrize(
    "content", ["[1]", "null", '{"model": null}', '{"model": {"type": "BPE"}}']
)
def test_files_that_are_built_otherwise(tmp_path, transformers, content):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    (tmp_path / "hf" / "tokenizer.json").write_text(content)
    import_refused(tmp_path, str(tmp_path / "hf"))


def test_files_of_others_are_kept(tmp_path, transformers):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    with pytest.raises(ValueError, match="--out must be another folder than SOURCE"):
        import_encoder(str(tmp_path / "hf"), str(tmp_path / "hf"), force=True)
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    (out / "dict.txt").write_text("mine 1\n")
    with pytest.raises(ValueError, match="already has dict.txt: --force replaces it"):
        import_encoder(str(tmp_path / "hf"), str(out))
    assert [p.name for p in out.iterdir()] == ["dict.txt"]
    others = ("vocab.txt", "special_tokens_map.json")
    for name in others:
        (out / name).write_text("mine")
    import_encoder(str(tmp_path / "hf"), str(out), force=True)
    hf_models.make("bert", tmp_path / "bert", transformers, head="")
    import_encoder(str(tmp_path / "bert"), str(out), force=True)
    left = {str(p.relative_to(out)) for p in out.rglob("*")}
    imported = {"dict.txt", "model.pt", "tokenizer.json", "tokenizer_config.json"}
    assert left == {*imported, *others}
    assert all((out / name).read_text() == "mine" for name in others)
    (tmp_path / "bert" / "config.json").write_text("{}")
    with pytest.raises(ValueError):
        import_encoder(str(tmp_path / "bert"), str(tmp_path / "new" / "folders"))
    assert not (tmp_path / "new").exists()


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
    write_source(tmp_path / "hf", state={"x": Call(os.mkdir, str(tmp_path / "owned"))})
    import_refused(tmp_path, "cannot be read as weights")
    assert not (tmp_path / "owned").exists()
