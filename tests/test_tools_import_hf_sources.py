"""import_hf: sources of every family that cannot be followed; files of others, a full disk."""

import json
import subprocess
import sys

import hf_models
import pytest
import torch
import toy
from fairseq.data import Dictionary

import mixkd_plugin  # noqa: F401  (lets torch read the checkpoint's Namespace)
from mixkd_plugin.tools.import_hf import import_encoder
from mixkd_plugin.tools.subwords import build_tokenizer


def refused(tmp_path, message, **options):
    out = tmp_path / "out"
    with pytest.raises(ValueError) as error:
        import_encoder(str(tmp_path / "hf"), str(out), **options)
    assert message in str(error.value)
    assert not out.exists()


def test_other_heads_and_kinds_are_refused_by_name(tmp_path, transformers):
    hf_models.make("bert", tmp_path / "hf", transformers, head="QuestionAnswering")
    refused(tmp_path, "no place for: qa_outputs.bias, qa_outputs.weight")
    hf_models.make("bert", tmp_path / "hf", transformers, head="TokenClassification")
    refused(tmp_path, "the weights lack pooler.dense.weight")
    multi = {"problem_type": "multi_label_classification"}
    hf_models.make("distilbert", tmp_path / "hf", transformers, **multi)
    refused(tmp_path, "problem_type is 'multi_label_classification'; allowed: single_label")
    hf_models.make("distilbert", tmp_path / "hf", transformers, num_labels=3)
    refused(tmp_path, "--labels a,b: 3 different names are needed", labels=["a", "b"])
    hf_models.make("distilbert", tmp_path / "hf", transformers, head="")
    refused(tmp_path, "--labels a,b: the source is no classifier", labels=["a", "b"])
    (tmp_path / "hf" / "vocab.txt").unlink()
    refused(tmp_path, "no vocabulary: vocab.txt or tokenizer.json")


def test_tokenizers_that_fairseq_cannot_follow_are_refused(tmp_path, transformers):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    settings = tmp_path / "hf" / "tokenizer_config.json"
    settings.write_text(json.dumps({"add_prefix_space": True}))
    refused(tmp_path, "the tokenizer has add_prefix_space, and fairseq's GPT-2 BPE has not")
    settings.unlink()
    (tmp_path / "hf" / "merges.txt").unlink()
    refused(tmp_path, "vocab.json needs merges.txt")
    hf_models.make("xlm-roberta", tmp_path / "hf", transformers)
    transformers.AutoTokenizer.from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "hf")
    for name in ("sentencepiece.bpe.model", "vocab.json", "merges.txt"):
        (tmp_path / "hf" / name).unlink(missing_ok=True)
    refused(tmp_path, "sentencepiece.bpe.model is needed beside it")


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path, transformers):
    """The system refuses to write more than 50 kB to a file."""
    hf_models.make("distilbert", tmp_path / "hf", transformers)
    limit = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "sys.argv[0] = 'import_hf'\n"
        "runpy.run_module('mixkd_plugin.tools.import_hf', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", limit, tmp_path / "hf", tmp_path / "out"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=toy.ROOT)
    assert run.returncode == 1 and "out cannot be written" in run.stderr, run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "out").exists()


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pad_token_id": 0}, "pad_token_id is 0; allowed: that of <pad>, 1"),
        ({"num_attention_heads": 5}, "num_attention_heads is 5; allowed: a divisor of 24"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is missing or not a number above 0"),
        ({"hidden_dropout_prob": "a"}, "hidden_dropout_prob is 'a'; allowed: a number in [0, 1)"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps is '1e-5'; allowed: a number"),
        ({"id2label": {"0": "a", "5": "b"}}, "id2label has the classes 0, 5; allowed: 0, 1"),
        ({"id2label": {"0": "a b", "1": "a_b"}}, "id2label a b,a_b: 2 different names are needed"),
        ({"model_type": ["bert"]}, "it does not describe a model"),
    ],
)
def test_configurations_that_cannot_be(tmp_path, transformers, changes, message):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    change(tmp_path / "hf" / "config.json", **changes)
    refused(tmp_path, message)


def test_tokens_that_were_added(tmp_path, transformers):
    """WordPiece's come along; fairseq's other tokenizers cannot cut a text at them."""
    for kind in ("bert", "roberta"):
        model = hf_models.make(kind, tmp_path / "hf", transformers)
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
        tokenizer.add_tokens(["covid"])
        model.resize_token_embeddings(len(tokenizer))
        model.save_pretrained(tmp_path / kind)
        tokenizer.save_pretrained(tmp_path / kind)
    done = import_encoder(str(tmp_path / "bert"), str(tmp_path / "out"))
    assert "covid" in build_tokenizer(done.tokenizer).encode("the covid soup")
    assert "covid" in Dictionary.load(str(tmp_path / "out" / "dict.txt")).symbols
    with pytest.raises(ValueError, match="tokens were added to the tokenizer .covid"):
        import_encoder(str(tmp_path / "roberta"), str(tmp_path / "out2"))


@pytest.mark.parametrize(
    "content", ["[1]", "null", '{"model": null}', '{"model": {"type": "BPE"}}']
)
def test_files_that_are_built_otherwise(tmp_path, transformers, content):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    (tmp_path / "hf" / "tokenizer.json").write_text(content)
    refused(tmp_path, str(tmp_path / "hf"))
    (tmp_path / "hf" / "tokenizer.json").unlink()
    (tmp_path / "hf" / "model.safetensors").unlink()
    torch.save([1], tmp_path / "hf" / "pytorch_model.bin")
    refused(tmp_path, "pytorch_model.bin cannot be read as weights")


def test_files_of_others_are_kept(tmp_path, transformers):
    hf_models.make("roberta", tmp_path / "hf", transformers)
    with pytest.raises(ValueError, match="is SOURCE; allowed is another folder"):
        import_encoder(str(tmp_path / "hf"), str(tmp_path / "hf"), force=True)
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    (out / "dict.txt").write_text("mine 1\n")
    with pytest.raises(ValueError, match="already holds dict.txt; --force replaces it"):
        import_encoder(str(tmp_path / "hf"), str(out))
    assert [p.name for p in out.iterdir()] == ["dict.txt"]
    import_encoder(str(tmp_path / "hf"), str(out), force=True)
    hf_models.make("bert", tmp_path / "bert", transformers, head="")
    import_encoder(str(tmp_path / "bert"), str(out), force=True)
    left = sorted(str(p.relative_to(out)) for p in out.rglob("*"))
    assert left == ["dict.txt", "model.pt", "vocab.txt"]
    (tmp_path / "bert" / "config.json").write_text("{}")
    with pytest.raises(ValueError):
        import_encoder(str(tmp_path / "bert"), str(tmp_path / "new" / "folders"))
    assert not (tmp_path / "new").exists()
