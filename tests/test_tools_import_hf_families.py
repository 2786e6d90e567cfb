"""import_hf: every family against transformers, from texts and pairs to states and logits."""

import json
import os
import subprocess
import sys

import hf_models
import pytest
import torch
import toy
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel

import mixkd_plugin  # noqa: F401  (lets torch read the checkpoint's Namespace)
from mixkd_plugin.tools.hf_vocabulary import read_vocabulary
from mixkd_plugin.tools.import_hf import HEAD, import_encoder
from mixkd_plugin.tools.subwords import build_tokenizer

NAMES = {0: "not entailed", 1: "entailed", 2: "neutral"}


@pytest.fixture
def transformers(monkeypatch):
    return hf_models.import_transformers(monkeypatch)


def fairseq_tokens(dictionary, tokenizer, texts):
    """As fairseq's task lays texts out, from the tokenizer that `encode` uses."""
    tokens = [dictionary.bos()]
    for i, text in enumerate(texts):
        tokens += [dictionary.eos()] * (tokenizer.separators if i else 0)
        tokens += [dictionary.index(piece) for piece in tokenizer.encode(text)]
        tokens.append(dictionary.eos())
    return torch.tensor([tokens])


SLOW = [
    pytest.param(kind, marks=pytest.mark.slow) for kind in ("distilbert", "roberta", "camembert")
]


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", *SLOW])
@torch.no_grad()
def test_texts_and_pairs_give_the_logits_of_transformers(tmp_path, transformers, kind):
    model = hf_models.make(kind, tmp_path / "hf", transformers, id2label=NAMES)
    out = tmp_path / "out"
    done = import_encoder(str(tmp_path / "hf"), str(out))
    roberta = RobertaModel.from_pretrained(str(out), "model.pt", str(out), bpe=None).eval()
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf"), done.tokenizer
    ours, dictionary, logits = build_tokenizer(ours), roberta.task.source_dictionary, []
    for texts in [*((text,) for text in hf_models.TEXTS), *hf_models.PAIRS]:
        batch = theirs(*texts, return_tensors="pt")
        batch.pop("token_type_ids", None)  # all tokens have type 0, as the import says
        wanted = model(**batch, output_hidden_states=True)
        tokens = fairseq_tokens(dictionary, ours, texts)
        assert tokens.shape == batch["input_ids"].shape
        hidden = roberta.extract_features(tokens, return_all_hiddens=True)
        assert len(hidden) == len(wanted.hidden_states)
        for a, b in zip(hidden, wanted.hidden_states):
            assert (a - b).norm() / b.norm() < 1e-5
        logits.append(roberta.predict(HEAD, tokens, return_logits=True))
        assert (logits[-1] - wanted.logits).norm() / wanted.logits.norm() < 1e-5
    assert torch.cat(logits).std(dim=0).min() > 1e-2, "the texts make no difference"

    classes = Dictionary.load(str(out / "label" / "dict.txt")).symbols[4:]
    assert classes == ["not_entailed", "entailed", "neutral"] == done.labels
    if kind in ("roberta", "xlm-roberta", "camembert"):  # serves without this plugin
        state = torch.load(out / "model.pt", map_location="cpu", weights_only=False)
        assert state["args"].arch == "roberta"


@torch.no_grad()
def test_what_becomes_of_berts_segment_embeddings(tmp_path, transformers):
    """A second text has type 0 here: transformers says the same only if told so."""
    model = hf_models.make("bert", tmp_path / "hf", transformers)
    done = import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))
    out = str(tmp_path / "out")
    roberta = RobertaModel.from_pretrained(out, "model.pt", out, bpe=None).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    batch = tokenizer(*hf_models.PAIRS[0], return_tensors="pt")
    tokens = fairseq_tokens(
        roberta.task.source_dictionary, build_tokenizer(done.tokenizer), hf_models.PAIRS[0]
    )
    found = roberta.predict(HEAD, tokens, return_logits=True)
    assert batch["token_type_ids"].max() == 1
    assert (found - model(**batch).logits).abs().max() > 1e-2
    batch["token_type_ids"].zero_()
    assert (found - model(**batch).logits).abs().max() < 1e-5


def test_the_symbols_of_roberta_are_fairseqs(tmp_path, transformers):
    """GPT-2's numbers: bytes first, then merges, as in fairseq's public dict.txt."""
    hf_models.make("roberta", tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))
    encoder = json.loads((tmp_path / "out" / "encoder.json").read_text(encoding="utf-8"))
    assert [encoder[c] for c in "!A"] == [0, 32] and encoder["Ġ"] == 220  # of GPT-2's own file
    merges = (tmp_path / "out" / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    assert encoder["".join(merges[0].split())] == 256
    vocabulary = json.loads((tmp_path / "hf" / "vocab.json").read_text(encoding="utf-8"))
    dictionary = Dictionary.load(str(tmp_path / "out" / "dict.txt"))
    for token, index in vocabulary.items():
        if token in encoder:
            assert dictionary[index - 1] == str(encoder[token])  # <mask> was 4, and is the last now


@pytest.mark.parametrize("kind", ["roberta", "distilbert"])
def test_a_tokenizer_json_alone_is_read_like_the_older_files(tmp_path, transformers, kind):
    hf_models.make(kind, tmp_path / "hf", transformers)
    transformers.AutoTokenizer.from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "fast")
    for name in ("vocab.json", "merges.txt", "vocab.txt"):
        (tmp_path / "fast" / name).unlink(missing_ok=True)
    old, fast = (read_vocabulary(str(tmp_path / f), kind) for f in ("hf", "fast"))
    assert fast.symbols == old.symbols and fast.kind == old.kind
    assert fast.texts == old.texts


@pytest.mark.slow
def test_weights_in_several_files(tmp_path, transformers):
    model = hf_models.make("distilbert", tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "one"))
    (tmp_path / "hf" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "hf", max_shard_size="20KB")
    assert len(list((tmp_path / "hf").glob("*.safetensors"))) > 2
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "several"))
    states = [torch.load(tmp_path / f / "model.pt")["model"] for f in ("one", "several")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


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


@pytest.mark.slow
def test_a_name_of_the_hub(tmp_path, transformers):
    """From the hub's local cache, as after a download; without one, a sentence."""
    cache = tmp_path / "home" / "hub" / "models--somebody--tiny"
    commit = "0123456789" * 4
    hf_models.make("distilbert", cache / "snapshots" / commit, transformers)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    environment = dict(os.environ, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1")

    def run(name):
        command = [sys.executable, "-m", "mixkd_plugin.tools.import_hf", name, tmp_path / name]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=toy.ROOT, env=environment
        )

    done = run("somebody/tiny")
    assert done.returncode == 0, done.stderr
    assert f"--tokenizer wordpiece:{tmp_path}/somebody/tiny" in done.stdout
    missing = run("somebody/else")
    assert missing.returncode == 1 and "Traceback" not in missing.stderr
    assert "is neither a folder nor an installed Python package" in missing.stderr
    assert "and the Hugging Face hub says:" in missing.stderr
    assert not (tmp_path / "somebody" / "else").exists()


def test_the_first_names_of_layer_norms_weights(tmp_path, transformers):
    """As in the files of the first BERT models: gamma and beta."""
    model = hf_models.make("bert", tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "new"))
    (tmp_path / "hf" / "model.safetensors").unlink()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in model.state_dict().items()
    }
    torch.save(old, tmp_path / "hf" / "pytorch_model.bin")
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "old"))
    states = [torch.load(tmp_path / f / "model.pt")["model"] for f in ("new", "old")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


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
