"""export: what is served equals the fairseq student, on any text, and needs none of fairseq."""

import json
import os
import subprocess
import sys
from functools import partial

import hf_models
import pytest
import torch
import toy
from exported import NEW_PAIRS, NEW_TEXTS, Trained

from mixkd_plugin.tools.export import main
from mixkd_plugin.tools.export.export import export, load
from mixkd_plugin.tools.export.formats import FORMATS
from mixkd_plugin.tools.serving_report import serving_report


@pytest.fixture(scope="module", params=["wordpiece", "gpt2", "sentencepiece"])
def trained(request, tmp_path_factory):
    return Trained(tmp_path_factory.mktemp(request.param), request.param)


SERVER = """
import json, sys
for name in ("fairseq", "mixkd_plugin", "torchaudio"):  # the last may be broken where fairseq is
    sys.modules[name] = None
form, folder, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
import torch
if form == "hf":
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = tokenizer(*zip(*texts), padding=True, return_tensors="pt")
    logits = model(**batch).logits
    classify = pipeline("text-classification", model=folder, tokenizer=folder, top_k=None)
    answers = classify([{"text": t[0], "text_pair": t[-1]} for t in texts] if len(texts[0]) > 1
                       else [t[0] for t in texts])
else:
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_padding(pad_id=json.load(open(f"{folder}/config.json"))["pad_token_id"])
    ids = torch.tensor([e.ids for e in tokenizer.encode_batch([t if len(t) > 1 else t[0] for t in texts])])
    answers = None
    import onnxruntime
    session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
    logits = torch.from_numpy(session.run(None, {"input_ids": ids.numpy()})[0])
print(json.dumps([logits.tolist(), answers]))
"""  # noqa: E501


def served(form, folder, texts):
    """Logits and pipeline's answers of a process in which fairseq and the plugin do not exist."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    command = [sys.executable, "-W", "ignore", "-c", SERVER, form, str(folder), json.dumps(texts)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert run.returncode == 0, run.stderr
    logits, answers = json.loads(run.stdout.splitlines()[-1])
    return torch.tensor(logits), answers


@pytest.mark.slow
def test_hugging_face_for_every_tokenizer(tmp_path, transformers, trained):
    assert trained.unknown, "no piece is missing from the dictionary"
    parity = export(trained.checkpoint, str(tmp_path / "hf"), "hf", trained.tokenizer)
    assert parity.texts == len(hf_models.PAIRS) and parity.difference < 1e-5
    for texts in (NEW_PAIRS, [(text,) for text in NEW_TEXTS]):
        wanted = trained.logits(texts)
        assert wanted.std(dim=0).min() > 1e-2, "the texts make no difference"
        logits, answers = served("hf", tmp_path / "hf", texts)
        assert (logits - wanted).abs().max() < 1e-5
        for row, scores in zip(wanted.softmax(dim=1), answers):
            expected = dict(zip(("entailment", "not_entailment"), row.tolist()))
            assert {s["label"]: s["score"] for s in scores} == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_pair_may_lack_its_second_text(tmp_path, transformers, student):
    texts = tmp_path / "texts.tsv"
    texts.write_text("the soup\t\n\tthe soup\nthe soup\tcold\n")
    arguments = student.checkpoint, str(tmp_path / "hf"), "hf", student.tokenizer
    assert export(*arguments, text=str(texts)).texts == 3


@pytest.mark.slow
def test_onnx_for_every_tokenizer(tmp_path, trained):
    pytest.importorskip("onnxruntime")
    export(trained.checkpoint, str(tmp_path / "onnx"), "onnx", trained.tokenizer)
    for texts in (NEW_PAIRS, [(text,) for text in NEW_TEXTS], NEW_PAIRS[:1]):
        logits, _ = served("onnx", tmp_path / "onnx", texts)
        assert (logits - trained.logits(texts)).abs().max() < 1e-5
    names = json.loads((tmp_path / "onnx" / "config.json").read_text())["id2label"]
    assert names == {"0": "entailment", "1": "not_entailment"}


def test_padding_by_the_exported_tokenizer_is_padding_to_the_model(tmp_path, transformers, trained):
    export(trained.checkpoint, str(tmp_path / "hf"), "hf", trained.tokenizer)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    ids = tokenizer(*zip(*NEW_PAIRS), padding=True, return_tensors="pt")["input_ids"]
    logits = FORMATS["hf"].open(str(tmp_path / "hf"))(ids, torch.zeros_like(ids))
    assert (logits - trained.logits(NEW_PAIRS)).abs().max() < 1e-5


def test_an_export_replaces_its_own_files_alone(tmp_path, student):
    out = tmp_path / "out"
    export(student.checkpoint, str(out), "hf", student.tokenizer)
    (out / "README.md").write_text("mine")
    (out / "model.safetensors").write_text("old")
    with pytest.raises(ValueError, match="already has .*: --force replaces it"):
        export(student.checkpoint, str(out), "hf", student.tokenizer)
    assert (out / "model.safetensors").read_text() == "old"
    (out / "special_tokens_map.json").write_text("{}")  # which transformers would read
    export(student.checkpoint, str(out), "hf", student.tokenizer, force=True)
    assert not (out / "special_tokens_map.json").exists()
    assert (out / "model.safetensors").stat().st_size > 1000 and (out / "README.md").exists()
    folder = student.tokenizer.partition(":")[2]
    with pytest.raises(ValueError, match="--out must be another folder than that of --tokenizer"):
        export(student.checkpoint, folder, "hf", student.tokenizer, force=True)


@pytest.mark.parametrize("to, name", [
    ("onnx-int8", "model.safetensors"), ("onnx", "pytorch_model.bin"), ("hf", "model.onnx"),
    ("hf", "model.ts"),
])  # fmt: skip
def test_weights_of_another_format_are_neither_removed_nor_given_another_config(
    tmp_path, student, to, name
):
    for file in (name, "config.json"):
        (tmp_path / file).write_text("mine")
    with pytest.raises(ValueError, match=f"--out must .*, got {tmp_path} with {name}"):
        export(student.checkpoint, str(tmp_path), to, student.tokenizer, force=True)
    left = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert left == {name: "mine", "config.json": "mine"}


@pytest.mark.slow
def test_weights_of_onnx_in_two_files(tmp_path, student, monkeypatch, capsys):
    """As torch writes more than 1.5 GiB. Both count, and --force replaces both."""
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    words = [student.checkpoint, str(out), "--tokenizer", student.tokenizer, "--force", "--to"]
    with monkeypatch.context() as patch:
        patch.setattr(torch.onnx, "export", partial(_in_two_files, torch.onnx.export))
        main([*words, "onnx"])
        files = [out / "model.onnx", out / "model.onnx.data"]
        size = sum(file.stat().st_size for file in files) / 1e6
        assert f"model.onnx: {size:.1f} MB\n" in capsys.readouterr().out
        patch.setattr(serving_report, "export", lambda *_, **__: None)  # it is there
        loaded = load(student.checkpoint, None)
        assert serving_report.serve("onnx", loaded, student.tokenizer, str(out))[1] == size
        main([*words, "onnx-int8", "--tolerance", "5"])  # reads both files, and writes one
    assert [path.name for path in out.glob("model*")] == ["model.onnx"]


def _in_two_files(write, *args, **more):
    return write(*args, **{**more, "external_data": True})


@pytest.mark.slow
def test_int8_through_the_command_line(tmp_path, student):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "int8"
    arguments = [student.checkpoint, out, "--to", "onnx-int8", "--tokenizer", student.tokenizer]
    arguments += ["--tolerance", 5]  # random weights are not made for eight bits
    done = toy.run_module("mixkd_plugin.tools.export", *arguments)
    assert "compared with fairseq on 8 texts: logits differ by at most" in done.stdout
    logits, _ = served("onnx", out, NEW_PAIRS)
    wanted = student.logits(NEW_PAIRS)
    difference = (logits - wanted).abs().max()
    assert 0 < difference < 5
    import onnx

    kinds = {tensor.data_type for tensor in onnx.load(out / "model.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in kinds


@pytest.mark.slow
def test_regression(tmp_path, transformers, regression, regression_teacher):
    """One output without classes; texts from a file, the words of the toy data as WordPiece."""
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *toy.WORDS]), encoding="utf-8"
    )
    (tmp_path / "texts").write_text("w1 w2 w3\nw4\nw5 w6 w6 w7 w39\n")
    tokenizer = f"wordpiece:{tmp_path}"
    checkpoint = str(regression_teacher)
    parity = export(checkpoint, str(tmp_path / "hf"), "hf", tokenizer, text=str(tmp_path / "texts"))
    assert parity.texts == 3 and parity.agreement != parity.agreement  # nan
    logits, answers = served("hf", tmp_path / "hf", [("w1 w2 w3",), ("w4",)])
    assert logits.shape == (2, 1)
    for value, scores in zip(logits[:, 0].tolist(), answers):
        assert scores[0]["score"] == pytest.approx(value, abs=1e-6)  # no softmax or sigmoid
