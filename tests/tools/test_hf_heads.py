"""Heads of Hugging Face models: what config.json declares decides, never the names of weights."""

import json
import shutil

import hf_models
import inprocess
import pytest
import refusals
import torch
import toy
from encode_files import encode_table
from fairseq.data import Dictionary
from refusals import import_refused

from mixkd_plugin.tools import scoring
from mixkd_plugin.tools.import_hf import main
from mixkd_plugin.tools.import_hf.import_hf import import_encoder


def make(tmp_path, transformers, kind="bert", head="SequenceClassification", drop=(), **changes):
    model = hf_models.make(kind, tmp_path / "hf", transformers, head=head)
    path = tmp_path / "hf" / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in drop}))
    return model


def test_a_tagger_with_a_pooler_is_no_classifier(tmp_path, transformers):
    from safetensors.torch import load_file, save_file

    make(tmp_path, transformers, head="TokenClassification")
    path = str(tmp_path / "hf" / "model.safetensors")
    pooler = {
        "bert.pooler.dense.weight": torch.randn(24, 24),
        "bert.pooler.dense.bias": torch.ones(24),
    }
    save_file({**load_file(path), **pooler}, path, metadata={"format": "pt"})
    import_refused(tmp_path, "got ['BertForTokenClassification']", "--encoder-only")
    done = import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"), encoder_only=True)
    assert done.head is None and not (tmp_path / "out" / "label").exists()


@pytest.mark.parametrize(
    "kind, head", [("bert", "MultipleChoice"), ("distilbert", "MultipleChoice"),
                   ("roberta", "QuestionAnswering"), ("roberta", "TokenClassification")],
)  # fmt: skip
def test_other_heads(tmp_path, transformers, kind, head):
    make(tmp_path, transformers, kind, head)
    import_refused(tmp_path, f"For{head}", "--encoder-only")
    assert import_encoder(
        str(tmp_path / "hf"), str(tmp_path / "out"), encoder_only=True
    ).head is None  # fmt: skip


@pytest.mark.parametrize("head", ["MaskedLM", ""])
def test_an_encoder_has_no_head(tmp_path, transformers, head):
    make(tmp_path, transformers, "roberta", head)
    assert import_encoder(str(tmp_path / "hf"), str(tmp_path / "out")).head is None
    refused_labels = {"labels": ["a", "b"], "force": True}
    with pytest.raises(ValueError, match="--labels must be absent .* got a,b"):
        import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"), **refused_labels)


def test_what_is_undeclared_or_unknown_is_refused(tmp_path, transformers):
    make(tmp_path, transformers, drop=["architectures"])
    import_refused(tmp_path, "architectures", "--encoder-only")
    for names in (["MyBertForSequenceClassification"], ["BertForSequenceClassification"] * 2, "x"):
        make(tmp_path, transformers, architectures=names)
        import_refused(tmp_path, "architectures must be BertForSequenceClassification")
    make(tmp_path, transformers, auto_map={"AutoModelForSequenceClassification": "modeling.Bert"})
    import_refused(tmp_path, "auto_map must be absent")
    make(tmp_path, transformers, head="", architectures=["BertForSequenceClassification"])
    import_refused(tmp_path, "the weights lack classifier.weight")


SIGMOID = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}
OLD_SIGMOID = {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}


def test_heads_of_one_output(tmp_path, transformers, capsys):
    hf_models.make("roberta", tmp_path / "hf", transformers, num_labels=1)
    main([str(tmp_path / "hf"), str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "1 targets of a regression, without an activation" in said
    for changes in (
        SIGMOID, OLD_SIGMOID, {"problem_type": "single_label_classification"},
        {"problem_type": "multi_label_classification"},
    ):  # fmt: skip
        path = tmp_path / "hf" / "config.json"
        before = path.read_text()
        hf_models.change(path, **changes)
        with pytest.raises(ValueError, match="Sigmoid|single_label|multi_label"):
            import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"), force=True)
        path.write_text(before)


@pytest.mark.parametrize(
    "labels, names",
    [
        (["a", "b"], ["a", "b"]),
        ([0, 1], ["0", "1"]),
        ({"0": "LABEL_0", "1": "LABEL_1"}, ["0", "1"]),
    ],
)
def test_names_in_a_list(tmp_path, transformers, labels, names):
    make(tmp_path, transformers, id2label=labels)
    assert import_encoder(str(tmp_path / "hf"), str(tmp_path / "out")).head.names == names
    saved = Dictionary.load(str(tmp_path / "out" / "label" / "dict.txt"))
    assert saved.symbols[saved.nspecial :] == names


@pytest.mark.parametrize(
    "labels",
    [{"1": "a", "2": "b"}, {"0": "a"}, ["a"], [1], "ab", 7, {"0": None, "1": "b"},
     {"0": [], "1": "b"}, {"0": "a", "1": "a"}, {"0": "a", "01": "b"}, {"0": "", "1": "b"}],
)  # fmt: skip
def test_names_that_are_not_those_of_the_outputs(tmp_path, transformers, labels):
    """--labels, which the message names, helps."""
    make(tmp_path, transformers, id2label=labels)
    import_refused(tmp_path, "id2label", "--labels")
    done = import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"), labels=["c", "d"])
    assert done.head.names == ["c", "d"]


def test_the_declared_names_in_another_order(tmp_path, transformers):
    """They are of other outputs then: a teacher that says the opposite."""
    make(tmp_path, transformers, id2label={"1": "POS", "0": "NEG"})
    with pytest.raises(ValueError, match="--labels must have the order of id2label, got pos,neg"):
        import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"), labels=["pos", "neg"])
    make(tmp_path, transformers, id2label=["A", "a"])
    with pytest.raises(ValueError, match="--labels must have the order of id2label, got a,A"):
        import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"), labels=["a", "A"])
    for i, (names, labels) in enumerate([(["NEG", "POS"], ["neg", "pos"]), ([0, 1], ["1", "0"])]):
        make(tmp_path, transformers, id2label=names)
        out = str(tmp_path / f"out{i}")
        assert import_encoder(str(tmp_path / "hf"), out, labels=labels).head.names == labels


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, transformers):
    """A BERT classifier, and data of pairs and of single texts in its vocabulary."""
    folder = tmp_path_factory.mktemp("pairs")
    hf_models.make("bert", folder / "hf", transformers)
    import_encoder(str(folder / "hf"), str(folder / "both"))
    import_encoder(str(folder / "hf"), str(folder / "accepted"), one_token_type=True)
    shutil.copytree(folder / "accepted", folder / "teacher")  # as an earlier version imported it
    with toy.edited(folder / "teacher" / "model.pt") as state:
        state["extra_state"]["reads_one_text"] = True
        state["task_state"] = {"reads_one_text": True}
    for name, texts in (("pairs", "ab"), ("single", "a")):
        rows = [(*pair[: len(texts)], i % 2) for i, pair in enumerate(hf_models.PAIRS)]
        tokenizer = f"hf:{folder / 'teacher'}"
        encode_table(folder / "t.tsv", rows, tokenizer, folder / name, texts, max_tokens=60)
    return folder


def kd(folder, teacher):
    return [*refusals.KD, "--teacher-path", folder / teacher / "model.pt", "--num-classes", 2,
            "--init-token", 0]  # fmt: skip


def test_an_earlier_import_of_two_token_types_is_refused_for_pairs(tmp_path, pairs):
    message = refusals.refusal(pairs / "pairs", tmp_path / "s", *kd(pairs, "teacher"))
    assert "--teacher-path" in message and "--one-token-type" in message
    for teacher in ("accepted", "both"):
        refusals.accepts(pairs / "pairs", tmp_path / "s", *kd(pairs, teacher))
    refusals.accepts(pairs / "single", tmp_path / "s", *kd(pairs, "teacher"))


def test_compare_and_reports_refuse_it_too(pairs):
    with pytest.raises(ValueError, match="--one-token-type"):
        scoring.load(str(pairs / "teacher" / "model.pt"), str(pairs / "pairs"))


def test_fairseq_validate_refuses_it_too(pairs):
    def validate(teacher, data):
        path = pairs / teacher / "model.pt"
        return inprocess.validate(*toy.validate_flags(pairs / data, path, "--batch-size", 4))

    with pytest.raises(ValueError, match="--one-token-type"):
        validate("teacher", "pairs")
    for accepted in (("accepted", "pairs"), ("teacher", "single")):
        assert "accuracy" in validate(*accepted)


def test_the_import_of_one_type_warns(pairs, tmp_path, capsys):
    main([str(pairs / "hf"), str(tmp_path / "out"), "--one-token-type"])
    assert "WARNING" in capsys.readouterr().err
    main([str(pairs / "hf"), str(tmp_path / "out"), "--force"])
    assert "WARNING" not in capsys.readouterr().err
