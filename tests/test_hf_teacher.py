"""A fine-tuned Hugging Face classifier is a teacher as it is: imported, encoded for, distilled."""

import re

import hf_models
import pytest
import torch
import toy

from mixkd_plugin.tools.encode import encode
from mixkd_plugin.tools.import_hf import import_encoder
from mixkd_plugin.tools.sources import glue_source

SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("roberta", "xlm-roberta")]


@pytest.mark.parametrize("kind", ["distilbert", *SLOW])
def test_the_teachers_accuracy_in_training_is_that_of_transformers(tmp_path, monkeypatch, kind):
    transformers = hf_models.import_transformers(monkeypatch)
    model = hf_models.make(kind, tmp_path / "hf", transformers)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    with torch.no_grad():
        logits = [model(**tokenizer(t, return_tensors="pt")).logits for t in hf_models.TEXTS]
    predicted = torch.cat(logits).argmax(dim=1).tolist()
    gold = [1 - p if i % 3 == 0 else p for i, p in enumerate(predicted)]
    accuracy = 100 * sum(p == g for p, g in zip(predicted, gold)) / len(gold)
    assert 50 < accuracy < 75

    glue = tmp_path / "glue"
    glue.mkdir()
    texts = [text.replace("\t", " ") for text in hf_models.TEXTS]
    lines = "".join(f"{text}\t{label}\n" for text, label in zip(texts, gold))
    for name in ("train.tsv", "dev.tsv"):
        (glue / name).write_text(f"sentence\tlabel\n{lines}", encoding="utf-8")
    teacher, data = str(tmp_path / "teacher"), str(tmp_path / "data")
    done = import_encoder(str(tmp_path / "hf"), teacher)
    flags = encode(glue_source(str(glue), "SST-2"), done.tokenizer, data)
    weights = ["--mle-weight", 0, "--kd-weight", 1, "--sm-weight", 0, "--tmkd-weight", 1]
    log = toy.train(
        data, tmp_path / "student", *flags.split(), *weights,
        "--teacher-path", f"{teacher}/model.pt", "--max-epoch", 2,
    ).stdout  # fmt: skip
    logged = re.findall(r"valid \| .* teacher_accuracy ([\d.]+)", log)
    assert [float(value) for value in logged] == [round(accuracy, 1)] * 2, log

    wrong = str(tmp_path / "wrong")  # the classes in another order
    import_encoder(str(tmp_path / "hf"), wrong, labels=["1", "0"])
    run = toy.train(
        tmp_path / "data", tmp_path / "student2", *flags.split(), *weights,
        "--teacher-path", f"{wrong}/model.pt", check=False,
    )  # fmt: skip
    assert run.returncode != 0
    assert "its labels" in run.stdout and "symbol 4 is '1', here '0'" in run.stdout
