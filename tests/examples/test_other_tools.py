"""Other tools on a cell of a study: what they are given, and the line that they add."""

import json
import math
import sys
from collections import UserDict
from types import SimpleNamespace
from unittest.mock import MagicMock

import other_tools
import pytest
import torch
from hf_encoders import WORDS, write_classifier

from mixkd_plugin.data.mixup_plan import stratified_subset
from mixkd_plugin.tools.results import read_results

NAMES = {0: "bad", 1: "good"}
COMMAND = ["--fraction", "0.5", "--seed", "3", "--tools", "Trainer"]


@pytest.fixture
def teacher(tmp_path, transformers):
    write_classifier(
        "bert", tmp_path / "teacher", transformers, num_hidden_layers=5, id2label=NAMES,
        label2id={name: at for at, name in NAMES.items()},
    )  # fmt: skip
    return tmp_path / "teacher"


@pytest.mark.parametrize(
    ("name", "label", "columns"),
    [
        ("mine", "label", ("sentence",)),
        ("mine", "label", ("sentence1", "sentence2")),
        ("MRPC", "Quality", ("#1 String", "#2 String")),
    ],
)
def test_a_line_of_a_study(tmp_path, teacher, monkeypatch, name, label, columns):
    task = tmp_path / "glue" / name
    task.mkdir(parents=True)
    for split in ("train", "dev"):
        lines = [f"{NAMES[i % 2]}\t" + "\t".join([WORDS[i % 5]] * len(columns)) for i in range(20)]
        (task / f"{split}.tsv").write_text("\n".join(["\t".join([label, *columns]), *lines]))
    given = {}

    def train(teacher, student, examples, collate, args):
        given.update(batch=collate(examples), seed=args.seed)
        with torch.no_grad():  # always the second class
            student.classifier.bias += torch.tensor([0.0, 1e9])

    monkeypatch.setitem(other_tools.TOOLS, "Trainer", train)
    results = tmp_path / "other_tools.jsonl"
    where = ["--teacher", teacher, "--glue", tmp_path / "glue", "--results", results]
    other_tools.main([*COMMAND, "--task", name, *map(str, where)])
    part = stratified_subset(torch.arange(20).numpy() % 2, 0.5, 3)
    assert given["batch"]["labels"].tolist() == (part % 2).tolist() and given["seed"] == 3
    (done,) = read_results([str(results)]).done
    assert done.run[:5] == (name, 0.5, 3, "3-layer", "Trainer")
    f1 = pytest.approx(200 / 3)  # half of what is called good is
    assert done.record["metrics"]["valid"] == {
        "accuracy": 50.0, "f1": f1, "acc_and_f1": pytest.approx((50 + 200 / 3) / 2)
    }  # fmt: skip
    assert json.loads(results.read_text())["examples"] == 10


def test_a_regression_has_the_studys_loss_scale_and_subset(tmp_path, transformers, monkeypatch):
    write_classifier("bert", tmp_path / "teacher", transformers, num_hidden_layers=5, num_labels=1)
    task = tmp_path / "STS-B"
    task.mkdir()
    lines = [f"{WORDS[at]}\t{WORDS[0]}\t{at}" for at in range(5)]
    for split in ("train", "dev"):
        (task / f"{split}.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *lines]))
    given = {}

    def train(teacher, student, examples, collate, args):
        given.update(labels=[example["labels"] for example in examples])

    monkeypatch.setitem(other_tools.TOOLS, "Trainer", train)
    where = ["--teacher", tmp_path / "teacher", "--glue", tmp_path, "--results", tmp_path / "lines"]
    other_tools.main([*COMMAND, "--task", "STS-B", *map(str, where)])
    part = stratified_subset(torch.zeros(5).numpy(), 0.5, 3)
    assert given["labels"] == [at / 5 for at in part]  # as fairseq's recipe for GLUE has it
    (done,) = read_results([str(tmp_path / "lines")]).done
    metrics = done.record["metrics"]["valid"]
    assert metrics["pearson_and_spearman"] == (metrics["pearson"] + metrics["spearman"]) / 2
    logits, labels = torch.tensor([[0.5], [1.0]]), torch.tensor([0.0, 1.0])
    assert other_tools.label_loss(logits, labels) == 0.125
    classes = torch.tensor([[0.0, 0.0]])
    assert other_tools.label_loss(classes, torch.tensor([1])) == pytest.approx(math.log(2))


def test_a_task_that_is_not_there_is_refused(tmp_path, teacher, capsys):
    where = ["--teacher", teacher, "--glue", tmp_path, "--results", tmp_path / "lines"]
    with pytest.raises(SystemExit):
        other_tools.main([*COMMAND, "--task", "mine", *map(str, where)])
    assert "--task mine: no file" in capsys.readouterr().err


def test_the_student_begins_with_the_teachers_layers(teacher, transformers):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(teacher)
    student = other_tools.first_student(model)
    assert len(student.bert.encoder.layer) == 3
    for own, kept in zip(student.bert.encoder.layer, other_tools.KEPT, strict=True):
        theirs = model.bert.encoder.layer[kept]
        torch.testing.assert_close(own.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert torch.equal(student.classifier.weight, model.classifier.weight)
    tokens = torch.tensor([[5, 6, 7]])
    before = model(tokens, output_hidden_states=True).hidden_states[1]
    assert torch.equal(student.eval()(tokens, output_hidden_states=True).hidden_states[1], before)


@pytest.mark.parametrize(
    ("deep", "wanted", "labels", "loss"),
    [
        (6, [0, 2, 4, 6], 2, {"temperature": 8}),
        (12, [0, 4, 8, 12], 3, {"temperature": 8}),
        (5, [0, 1, 3, 5], 1, {"temperature": 1, "kd_loss_type": "mse"}),
    ],
)
def test_textbrewer_is_given_evenly_spread_states(monkeypatch, deep, wanted, labels, loss):
    """The embeddings' for the embeddings', the last layer's for the last."""
    fake = MagicMock()
    monkeypatch.setitem(sys.modules, "textbrewer", fake)
    models = [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]
    for model in models:
        model.config = SimpleNamespace(num_hidden_layers=deep, num_labels=labels)
    args = SimpleNamespace(bf16=False, rows=2, updates=3, lr=0.1)
    other_tools.train_with_textbrewer(*models, [1, 2], UserDict, args)
    settings = dict(fake.DistillationConfig.call_args.kwargs)
    matches = settings.pop("intermediate_matches")
    assert settings == loss
    assert [match["layer_T"] for match in matches] == wanted
    assert [match["layer_S"] for match in matches] == [0, 1, 2, 3]
    # what it needs: a plain dict, and when to save
    loader = fake.GeneralDistiller.return_value.train.call_args.args[1]
    assert loader.collate_fn({"a": 1}) == {"a": 1} and type(loader.collate_fn({"a": 1})) is dict
    assert fake.TrainingConfig.call_args.kwargs["ckpt_steps"] == 3
