"""Models of several labels for a text: from Hugging Face and back, compared and used."""

import csv
import io

import hf_encoders
import hf_models
import inprocess
import numpy as np
import pytest
import torch
import toy
from classifiers import logits_of
from refusals import KD, accepts, assert_matches, refusal
from scores import multi_label_scores
from several_labels import FLAGS, NAMES

from mixkd_plugin.__main__ import main
from mixkd_plugin.tools.compare.compare import compare
from mixkd_plugin.tools.export.export import export
from mixkd_plugin.tools.export.parity import check_parity

MULTI = {
    "num_labels": len(NAMES), "id2label": dict(enumerate(NAMES)),
    "problem_type": "multi_label_classification",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory, multi_label, transformers):
    """A BERT of several labels, its import, and the toy texts encoded with its tokenizer."""
    root = tmp_path_factory.mktemp("several")
    hf_encoders.write_classifier("bert", root / "hf", transformers, **MULTI)
    main(["import", str(root / "hf"), str(root / "imported")])
    for split in ("train", "valid"):
        texts = (multi_label / "raw" / f"{split}.text").read_text().splitlines()
        rows = (multi_label / "label" / f"{split}.label").read_text().splitlines()
        with open(root / f"{split}.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["text", *NAMES])
            table.writerows([text, *row.split()] for text, row in zip(texts, rows))
    main([
        "encode", "--train", f"{root}/train.csv", "--valid", f"{root}/valid.csv", "--text", "text",
        "--label", ",".join(NAMES), "--multi-label", "--tokenizer", f"hf:{root}/imported",
        "--out", f"{root}/data",
    ])  # fmt: skip
    return root


@pytest.fixture(scope="module")
def wanted(root, transformers):
    """transformers' logits of the validation texts, the labels, and the texts."""
    with open(root / "valid.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["text"] for row in rows]
    gold = np.array([[int(row[name]) for name in NAMES] for row in rows])
    return logits_of(root / "hf", [(text,) for text in texts], transformers), gold, texts


def test_compare_has_the_scores_of_scikit_learn(root, wanted):
    """Of the import, and of the folder itself."""
    paths = {"imported": f"{root}/imported/model.pt", "folder": f"hf:{root}/hf"}
    rows, count = compare(f"{root}/data", paths, "folder", rounds=1)
    logits, gold, _ = wanted
    predicted = logits.numpy() > 0
    assert count == len(gold) and 0.1 < predicted.mean() < 0.9
    scores = multi_label_scores(logits.numpy(), gold)
    for row in rows.values():
        for name, score in {**scores, "agreement": 1.0}.items():
            assert row[name] == pytest.approx(100 * score, abs=1e-6), name


def test_the_export_is_the_folder_again(tmp_path, root, wanted, transformers):
    export(f"{root}/imported/model.pt", f"{tmp_path}/out", "hf", data=f"{root}/data")
    auto = transformers.AutoModelForSequenceClassification
    back = auto.from_pretrained(tmp_path / "out")
    assert type(back).__name__ == "BertForSequenceClassification"
    assert back.config.problem_type == MULTI["problem_type"]
    assert back.config.id2label == MULTI["id2label"]
    found = logits_of(tmp_path / "out", [(text,) for text in wanted[2]], transformers)
    torch.testing.assert_close(found, wanted[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["folder", "checkpoint"])
def test_predict_gives_a_probability_for_each_class(tmp_path, capsys, root, wanted, kind):
    logits, _, texts = wanted
    (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in texts))
    given = [str(root / "hf")]
    if kind == "checkpoint":
        given = [f"{root}/imported/model.pt", "--data", f"{root}/data"]
    capsys.readouterr()
    main(["predict", given[0], f"{tmp_path}/a.txt", *given[1:]])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row, values in zip(rows, logits.sigmoid().tolist()):
        assert [float(row[name]) for name in NAMES] == pytest.approx(values, abs=1e-5)
        assert row["label"] == "|".join(n for n, value in zip(NAMES, values) if value > 0.5)
    assert len(rows) == len(texts) and len({row["label"] for row in rows}) > 2


def test_folders_and_imports_are_teachers_of_their_kind(tmp_path, root):
    data = f"{root}/data"
    flags = [*KD, "--teacher-path", f"{root}/imported/model.pt:hf:{root}/hf"]
    accepts(data, tmp_path / "a", *FLAGS, *flags)
    single = toy.copy_data(root / "data", tmp_path / "single")
    inprocess.preprocess(
        "--only-source", "--trainpref", _first(single, "train"), "--validpref",
        _first(single, "valid"), "--srcdict", single / "label" / "dict.txt", "--destdir",
        single / "once", "--workers", 1,
    )  # fmt: skip
    for path in (single / "once").glob("*.[bi]*"):
        path.rename(single / "label" / path.name)
    for teacher in (f"{root}/imported/model.pt", f"hf:{root}/hf"):
        flags = ["--num-classes", len(NAMES), *KD, "--teacher-path", teacher]
        message = refusal(single, tmp_path / "b", *flags)
        assert_matches(r"was trained for several labels \(--multi-label\), this run is", message)
    path = tmp_path / "one"
    toy.copy_data(root / "hf", path)
    hf_models.change(path / "config.json", problem_type="single_label_classification")
    message = refusal(data, tmp_path / "c", *FLAGS, *KD, "--teacher-path", f"hf:{path}")
    assert_matches(r"was trained for classification .* this run is several labels", message)


def _first(data, split):
    path = data / f"{split}.names"
    lines = (data / "label" / f"{split}.label").read_text().splitlines()
    path.write_text("".join(f"{NAMES[line.split().index('1')] if '1' in line else 'a'}\n"
                            for line in lines))  # fmt: skip
    return path


def test_parity_counts_texts_whose_labels_differ():
    wanted = torch.tensor([[2.0, -1.0], [1e-5, 3.0], [0.5, -2.0], [-1.0, -1.0]])
    found = wanted * torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    parity = check_parity(wanted, found, "hf", 1.0, True, 0.9, multi_label=True)
    assert parity.agreement == 1, "a logit near 0 is tied"
    found[3, 1] = 0.1
    with pytest.raises(ValueError, match="--min-agreement must be <= 0.75"):
        check_parity(wanted, found, "hf", 9.0, True, 0.9, multi_label=True)
