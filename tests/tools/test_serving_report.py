"""serving_report: what it measures is what is served; every model in every format."""

import json

import numpy as np
import pytest
import torch
import toy
from exported import Trained
from refusals import error_of

from mixkd_plugin.tools.batches import make_batches
from mixkd_plugin.tools.scoring import load
from mixkd_plugin.tools.serving_report import main
from mixkd_plugin.tools.serving_report import serving_report as report


def test_a_table_a_figure_and_the_exports(tmp_path, student, capsys):
    out = tmp_path / "out"
    main([
        student.data, f"teacher={student.checkpoint}", f"small={student.checkpoint}", "--out",
        str(out), "--tokenizer", student.tokenizer, "--formats", "fairseq,hf",
        "--batch-size", "3", "--rounds", "1",
    ])  # fmt: skip
    found = json.loads((out / "serving.json").read_text())
    assert (found["teacher"], found["texts"]) == ("teacher", 8)
    names = ("teacher", "small")
    labels = [f"{name}, {form}" for name in names for form in ("fairseq", "hf")]
    assert list(found["models"]) == labels
    table = (out / "serving.md").read_text()
    assert table.strip() in capsys.readouterr().out and "latency p50, ms" in table

    pairs = load(student.checkpoint, student.data)
    batches = make_batches(pairs.task, "valid", 1)
    right = [pairs.logits(batch).argmax() == batch["target"] for batch in batches]
    for label, row in found["models"].items():
        assert row["accuracy"] == pytest.approx(100 * float(torch.cat(right).float().mean()))
        assert row["agreement"] == 100
        assert 0 < row["p50"] <= row["p95"] and row["sentences_per_second"] > 0
        folder = out / "exports" / label.split(", ")[0] / "hf"
        size = (folder / "model.safetensors").stat().st_size
        if label.endswith("hf"):
            assert row["megabytes"] == pytest.approx(size / 1e6)
    tensors = pairs.model.state_dict().items()
    served = sum(tensor.numel() for name, tensor in tensors if "lm_head" not in name) - 1  # version
    assert found["models"]["small, fairseq"]["parameters"] == served
    assert (out / "serving.png").read_bytes().startswith(b"\x89PNG")


def test_an_export_of_classes_that_are_not_known_has_the_order_of_the_file(tmp_path, student):
    """--labels would change that of the loaded model alone."""
    with toy.edited(student.checkpoint, tmp_path / "s.pt") as state:
        state["task_state"], state["cfg"]["task"]["data"] = {}, ""
    labels = ["--labels", "not_entailment,entailment", "--formats", "fairseq,hf"]
    words = [student.data, f"small={tmp_path / 's.pt'}", "--tokenizer", student.tokenizer, *labels]
    said = error_of(main, *words, "--out", tmp_path / "out")
    assert f"--formats must be fairseq with --labels for {tmp_path / 's.pt'}" in said
    assert "got fairseq,hf" in said


def test_single_texts_have_no_padding(student):
    loaded = load(student.checkpoint, student.data)
    texts = report.singles(make_batches(loaded.task, "valid", 5))
    tokens = [text["net_input"]["src_tokens"] for text in texts]
    assert len(tokens) == 8 and all(t.size(0) == 1 and t[0, -1] == 2 for t in tokens)


@pytest.mark.slow
def test_a_teacher_with_a_vocabulary_of_its_own(tmp_path, student, tmp_path_factory):
    theirs = Trained(tmp_path_factory.mktemp("teacher"), "sentencepiece")
    main([
        student.data, f"large={theirs.checkpoint}", f"small={student.checkpoint}", "--out",
        str(tmp_path), "--tokenizer", student.tokenizer, "--formats", "hf", "--rounds",
        "1", "--teacher-data", theirs.data, "--teacher-tokenizer", theirs.tokenizer,
    ])  # fmt: skip
    found = json.loads((tmp_path / "serving.json").read_text())["models"]
    classes = []
    for trained in (theirs, student):
        one = load(trained.checkpoint, trained.data)
        batches = make_batches(one.task, "valid", 1)
        ids = [int(batch["id"]) for batch in batches]
        logits = torch.cat([one.logits(batch) for batch in batches])[np.argsort(ids)]
        classes.append(logits.argmax(dim=1))
    alike = 100 * (classes[0] == classes[1]).double().mean().item()
    assert found["small, hf"]["agreement"] == pytest.approx(alike)
    assert found["large, hf"]["agreement"] == 100


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--teacher-data", "x"], "--teacher-tokenizer must be given, since x does not name one"),
        (["--teacher-tokenizer", "hf:x"], "hf:x needs --teacher-data, which is missing"),
        (["--formats", "hf,pdf"], "--formats must be of fairseq, hf, onnx"),
        (["--teacher", "big"], "--teacher must be one of small, got big"),
        (["--teacher", "small", "../big=x.pt"], "must have a NAME without slashes, got ../big"),
    ],
)
def test_refusals(tmp_path, student, flags, message):
    pairs = [f"small={student.checkpoint}", *(flag for flag in flags if "=" in flag)]
    flags = [flag for flag in flags if "=" not in flag]
    words = [student.data, *pairs, "--out", tmp_path / "out", "--tokenizer", student.tokenizer]
    assert message in error_of(main, *words, *flags)
    assert not (tmp_path / "out").exists()
