"""A student from a Hugging Face folder: its layers, head, dropout and settings."""

from argparse import Namespace
from types import SimpleNamespace

import hf_encoders
import pytest
import torch
from hf_encoders import dictionary_of
from toy import WORDS

from mixkd_plugin.checkpoints.outputs import StudentHead
from mixkd_plugin.models import hf_student
from mixkd_plugin.models.hf_student import initialise_hf_student
from mixkd_plugin.models.mixkd_hf import MixKDHFModel, architecture

HEAD = "head"


def student(folder, classes=2, words=WORDS, names=None, **flags):
    dictionary = dictionary_of(words)
    args = Namespace(hf_model=folder and str(folder), **flags)
    architecture(args)
    model = MixKDHFModel.build_model(args, SimpleNamespace(source_dictionary=dictionary))
    model.register_classification_head(HEAD, classes)
    initialise_hf_student(model, dictionary, StudentHead(HEAD, names), classes)
    return model


@pytest.mark.parametrize(
    "kind, layers",
    [
        ("bert", "bert.encoder.layer"),
        ("distilbert", "distilbert.transformer.layer"),
        ("deberta-v2", "deberta.encoder.layer"),
        ("modernbert", "model.layers"),
    ],
)
def test_layers_and_head(tmp_path, transformers, kind, layers):
    name = "n_layers" if kind == "distilbert" else "num_hidden_layers"
    theirs = hf_encoders.write_classifier(kind, tmp_path, transformers, **{name: 4})
    theirs = theirs.state_dict()
    for spec, chosen in (("first", (0, 1)), ("spaced", (0, 2)), ("0,3", (0, 3))):
        model = student(tmp_path, encoder_layers=2, student_init_layers=spec)
        ours = model.network.state_dict()
        for place, layer in enumerate(chosen):
            of_layer = [n for n in theirs if n.startswith(f"{layers}.{layer}.")]
            assert of_layer
            for n in of_layer:
                mine = n.replace(f"{layers}.{layer}.", f"{layers}.{place}.")
                assert torch.equal(ours[mine], theirs[n])
        assert f"{layers}.2.0" not in " ".join(ours)
        head = model.classification_heads[HEAD].out_proj
        assert torch.equal(head.weight, theirs["classifier.weight"])
    types = getattr(model.network.config, "layer_types", None)
    if types is not None:  # layers 0 and 3 of ModernBERT attend to all tokens
        assert types == ["full_attention"] * 2
        with pytest.raises(ValueError, match="--student-init-layers 1,2"):
            student(tmp_path, encoder_layers=2, student_init_layers="1,2")
    words = model.embed_tokens.weight
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tables = ("word_embeddings.weight", "tok_embeddings.weight")
    table = next(value for name, value in theirs.items() if name.endswith(tables))
    for index, symbol in ((0, tokenizer.cls_token), (2, tokenizer.sep_token), (4, "w0"), (5, "w1")):
        assert torch.equal(words[index], table[tokenizer.convert_tokens_to_ids(symbol)])


def test_shared_layers_a_new_head_and_dropout(tmp_path, transformers):
    hf_encoders.write_classifier("albert", tmp_path, transformers)
    full, one = (student(tmp_path, encoder_layers=k, classes=3, dropout=0.3) for k in (2, 1))
    assert one.network.config.num_hidden_layers == 1
    a, b = full.network.state_dict(), one.network.state_dict()
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert one.classification_heads[HEAD].out_proj.weight.shape == (3, 16)
    config = one.args.hf_config
    assert {v for n, v in config.items() if "dropout" in n} == {0.3}
    assert {m.p for m in one.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}


def test_the_head_has_the_order_of_the_data(tmp_path, transformers):
    named = {"id2label": {0: "pos", 1: "neg"}, "label2id": {"pos": 0, "neg": 1}}
    theirs = hf_encoders.write_classifier("bert", tmp_path, transformers, **named).classifier
    heads = [
        student(tmp_path, names=names).classification_heads[HEAD].out_proj
        for names in (["pos", "neg"], ["neg", "pos"], ["0", "1"], ["good", "bad"])
    ]
    for head, rows in zip(heads, ([0, 1], [1, 0], [0, 1])):
        assert torch.equal(head.weight, theirs.weight[rows])
        assert torch.equal(head.bias, theirs.bias[rows])
    assert not {*heads[3].weight.flatten().tolist()} & {*theirs.weight.flatten().tolist()}


def test_an_encoder_without_head_and_a_part_of_its_vocabulary(tmp_path, transformers):
    theirs = hf_encoders.write_classifier("bert", tmp_path, transformers, head="Model")
    words = WORDS[:30]
    model = student(tmp_path, classes=3, words=words)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    indices = tokenizer.convert_tokens_to_ids(words)
    table = theirs.get_input_embeddings().weight
    assert torch.equal(model.embed_tokens.weight[4:-1], table[indices])
    assert torch.equal(
        model.network.bert.pooler.dense.weight, theirs.state_dict()["pooler.dense.weight"]
    )


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"encoder_layers": 3}, "--encoder-layers"),
        ({"encoder_layers": 0}, "--encoder-layers must be >= 1, got 0"),
        ({"student_init_layers": "1"}, "--student-init-layers 1"),
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\), got 1.0"),
        ({"words": ["other"]}, "vocabulary"),
        ({"hf_model": None}, "--hf-model is missing"),
        ({"hf_model": "/nowhere"}, "--hf-model /nowhere"),
    ],
)
def test_refusals(tmp_path_factory, transformers, flags, message):
    folder = tmp_path_factory.getbasetemp() / "refused_student"
    if not folder.exists():
        hf_encoders.write_classifier("bert", folder, transformers)
    with pytest.raises(ValueError, match=message):
        student(flags.pop("hf_model", folder), **flags)


@pytest.mark.parametrize(
    "name, value", [("encoder_layers", 1), ("student_init_layers", "spaced")], ids=str
)
def test_layers_of_a_model_that_does_not_say_how_many_it_has(
    tmp_path, transformers, monkeypatch, name, value
):
    hf_encoders.write_classifier("bert", tmp_path, transformers)
    monkeypatch.setattr(hf_student, "config_of", lambda _: SimpleNamespace(model_type="other"))
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be .* got {value}"):
        student(tmp_path, **{name: value})
