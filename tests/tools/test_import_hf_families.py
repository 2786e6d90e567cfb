"""import_hf: every family against transformers, from texts and pairs to states and logits."""

import json
import os
import subprocess
import sys

import hf_models
import pytest
import torch
import toy
from classifiers import logits_of
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from slow_cases import slow

import mixkd_plugin  # noqa: F401  (lets torch read the checkpoint's Namespace)
from mixkd_plugin.checkpoints.outputs import DEFAULT_HEAD
from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.import_hf import check
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

NAMES = {0: "not entailed", 1: "entailed", 2: "neutral"}


def fairseq_tokens(dictionary, tokenizer, texts):
    """As fairseq's task lays texts out, from the tokenizer that `encode` uses."""
    tokens = [dictionary.bos()]
    for i, text in enumerate(texts):
        tokens += [dictionary.eos()] * (tokenizer.separators if i else 0)
        tokens += [dictionary.index(piece) for piece in tokenizer.encode(text)]
        tokens.append(dictionary.eos())
    return torch.tensor([tokens])


@pytest.mark.parametrize(
    "kind", ["bert", "xlm-roberta", *slow("distilbert", "roberta", "camembert")]
)
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
        wanted = model(**batch, output_hidden_states=True)
        tokens = fairseq_tokens(dictionary, ours, texts)
        assert tokens.shape == batch["input_ids"].shape
        hidden = roberta.extract_features(tokens, return_all_hiddens=True)
        assert len(hidden) == len(wanted.hidden_states)
        for a, b in zip(hidden, wanted.hidden_states):
            assert (a - b).norm() / b.norm() < 1e-5
        logits.append(roberta.predict(DEFAULT_HEAD, tokens, return_logits=True))
        assert (logits[-1] - wanted.logits).norm() / wanted.logits.norm() < 1e-5
    assert torch.cat(logits).std(dim=0).min() > 1e-2, "the texts make no difference"

    classes = Dictionary.load(str(out / "label" / "dict.txt")).symbols[4:]
    assert classes == ["not_entailed", "entailed", "neutral"] == done.head.names
    if kind in ("roberta", "xlm-roberta", "camembert"):  # serves without this plugin
        state = torch.load(out / "model.pt", map_location="cpu", weights_only=False)
        assert state["args"].arch == "roberta"


def logits_of_a_pair(out, texts=hf_models.PAIRS[0]):
    roberta = RobertaModel.from_pretrained(str(out), "model.pt", str(out), bpe=None).eval()
    dictionary, tokenizer = roberta.task.source_dictionary, build_tokenizer(f"hf:{out}")
    tokens = fairseq_tokens(dictionary, tokenizer, texts)
    return roberta.predict(DEFAULT_HEAD, tokens, return_logits=True)


@torch.no_grad()
def test_one_of_berts_two_token_types_by_request(tmp_path, transformers):
    """A second text has type 0: transformers says the same only if told so."""
    model = hf_models.make("bert", tmp_path / "hf", transformers)
    done = import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"), one_token_type=True)
    pair = check.TEXTS[0], check.TEXTS[3]  # one of those that the import compares
    found = logits_of_a_pair(tmp_path / "out", pair)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    batch = tokenizer(*pair, return_tensors="pt")
    assert batch["token_type_ids"].max() == 1
    difference = (found - model(**batch).logits).abs().max()
    assert 1e-2 < difference <= done.of_pairs + 1e-5 and done.types == 1
    batch["token_type_ids"].zero_()
    assert (found - model(**batch).logits).abs().max() < 1e-5


def rewrite_tokenizer(folder, transformers, template=None, **settings):
    """The tokenizer in one file, with another layout of types."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if template is not None:
        tokenizers = pytest.importorskip("tokenizers")
        special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
        tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair=template, special_tokens=special
        )
    (folder / "vocab.txt").unlink(missing_ok=True)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "unk", "mask")}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_another_layout_of_types_is_refused(tmp_path, transformers):
    hf_models.make("bert", tmp_path / "hf", transformers)
    names = ["input_ids", "token_type_ids"]
    for template in ("[CLS] $A [SEP]:1 $B:1 [SEP]:1", "[CLS] $A [SEP] $B:1 [SEP]"):
        rewrite_tokenizer(tmp_path / "hf", transformers, template, model_input_names=names)
        with pytest.raises(ValueError, match="the tokenizer must give type 1 to what follows"):
            import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))


@torch.no_grad()
def test_a_tokenizer_without_types_gives_a_model_of_one(tmp_path, transformers):
    """As in transformers, which reads type 0 alone then."""
    hf_models.make("bert", tmp_path / "hf", transformers)
    inputs = ["input_ids", "attention_mask"]
    rewrite_tokenizer(tmp_path / "hf", transformers, model_input_names=inputs)
    assert import_encoder(str(tmp_path / "hf"), str(tmp_path / "out")).types == 1
    wanted = logits_of(tmp_path / "hf", hf_models.PAIRS[:1], transformers)
    assert (logits_of_a_pair(tmp_path / "out") - wanted).abs().max() < 1e-5


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


@pytest.mark.parametrize("kind", ["roberta", *slow("distilbert")])
def test_a_tokenizer_json_alone_is_read_like_the_older_files(tmp_path, transformers, kind):
    hf_models.make(kind, tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "old"))
    transformers.AutoTokenizer.from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "hf")
    for name in ("vocab.json", "merges.txt", "vocab.txt"):
        (tmp_path / "hf" / name).unlink(missing_ok=True)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "fast"))
    names = sorted(p.name for p in (tmp_path / "old").iterdir() if p.is_file())
    assert names == sorted(p.name for p in (tmp_path / "fast").iterdir() if p.is_file())
    for name in names:
        if name not in ("model.pt", "tokenizer.json"):
            old, fast = ((tmp_path / f / name).read_bytes() for f in ("old", "fast"))
            assert old == fast, name


@pytest.mark.slow
def test_weights_in_several_files(tmp_path, transformers):
    model = hf_models.make("distilbert", tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "one"))
    (tmp_path / "hf" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "hf", max_shard_size="20KB")
    assert len(list((tmp_path / "hf").glob("*.safetensors"))) > 2
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "several"))
    states = [torch.load(tmp_path / f / "model.pt")["model"] for f in ("one", "several")]
    torch.testing.assert_close(*states, rtol=0, atol=0)


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
    assert f"--tokenizer hf:{tmp_path}/somebody/tiny" in done.stdout
    missing = run("somebody/else")
    assert missing.returncode == 1 and "Traceback" not in missing.stderr
    assert "it must be a folder, an installed Python package" in missing.stderr
    assert "the Hugging Face hub:" in missing.stderr
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
    states = [torch.load(tmp_path / f / "model.pt") for f in ("new", "old")]
    torch.testing.assert_close(*(state["model"] for state in states), rtol=0, atol=0)
    assert states[0]["args"] == states[1]["args"]


@pytest.mark.parametrize("kind", ["bert", *slow("roberta", "distilbert")])
@torch.no_grad()
def test_a_head_for_masked_words_comes_along_where_it_is_tied(tmp_path, transformers, kind):
    """fairseq's is: of one with weights of its own the rest would predict anything."""
    for tied in (True, False):
        source, out = tmp_path / f"hf{tied}", tmp_path / f"out{tied}"
        model = hf_models.make(
            kind, source, transformers, head="MaskedLM", tie_word_embeddings=tied
        )
        import_encoder(str(source), str(out))
        roberta = RobertaModel.from_pretrained(str(out), "model.pt", str(out), bpe=None).eval()
        tokenizer = build_tokenizer(f"hf:{out}")
        dictionary = roberta.task.source_dictionary
        tokens = fairseq_tokens(dictionary, tokenizer, hf_models.TEXTS[:1])
        found = roberta.model(tokens, features_only=False)[0]
        theirs = transformers.AutoTokenizer.from_pretrained(source)
        wanted = model(theirs(hf_models.TEXTS[0], return_tensors="pt")["input_ids"]).logits
        symbols = {symbol: i for i, symbol in tokenizer.symbols.items()}
        rows = [symbols.get(symbol) for symbol in dictionary.symbols]
        shared = [i for i, row in enumerate(rows) if row is not None]
        difference = found[0, :, shared] - wanted[0, :, [rows[i] for i in shared]]
        bias = roberta.model.encoder.lm_head.bias
        assert (difference.abs().max() < 1e-4) == tied == bool(bias.any())
