"""predict: equal to transformers' pipeline and to the fairseq student, for any file of texts."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from predictions import LONG, PAIRS, check, pipeline_of, predicted, read, write_table
from refusals import error_of

from mixkd_plugin.__main__ import main
from mixkd_plugin.tools.export.export import export
from mixkd_plugin.tools.predict import students

CLASSES = ("entailment", "not_entailment")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, transformers, student):
    """The student's exports by format."""
    found = {}
    for form in ("hf", "onnx"):
        found[form] = str(tmp_path_factory.mktemp("exports") / form)
        export(student.checkpoint, found[form], form)
    return found


@pytest.fixture(scope="module")
def other(tmp_path_factory, folders):
    """The same model, as a classifier of which the number of texts is not known."""
    folder = tmp_path_factory.mktemp("other") / "hf"
    shutil.copytree(folders["hf"], folder)
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("mixkd_num_texts") == 2
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("kind", ["fairseq", "hf", "onnx"])
def test_pairs_equal_the_pipeline(tmp_path, capsys, transformers, student, folders, kind):
    """In order, whatever the batches are; the longest text is cut to the length of training."""
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    texts = [pair for pair in PAIRS if pair[1]]  # pipeline takes an empty second text for none
    model = {"fairseq": student.checkpoint, **folders}[kind]
    table = write_table(tmp_path / "texts.csv", texts)
    rows, said = predicted(capsys, model, table, "--batch-size", 2)
    cut = json.loads((Path(folders["hf"]) / "tokenizer.json").read_text())["truncation"]
    assert cut["max_length"] == 60, "`tokenizers` alone cuts, too"
    assert "1 of them cut to 60 tokens" in said and f"{len(texts)} texts" in said
    assert "text is sentence1 + sentence2\n" in said
    wanted = pipeline_of(transformers, folders["hf"], texts)
    assert len({round(scores["entailment"], 3) for scores in wanted}) > 3, (
        "texts make no difference"
    )
    check(rows, wanted)


def test_an_empty_second_text_is_part_of_a_pair(tmp_path, capsys, student):
    table = write_table(tmp_path / "texts.csv", [("the soup", ""), ("", "")])
    rows, _ = predicted(capsys, student.checkpoint, table)
    wanted = student.logits([("the soup", ""), ("", "")]).softmax(dim=1)
    check(rows, [dict(zip(CLASSES, row.tolist())) for row in wanted])


def test_formats_of_texts_say_the_same(tmp_path, capsys, monkeypatch, student, other):
    pairs = [("a soup, cold", "x"), ("x", 'the "soup"'), ("", "the")]
    table = write_table(tmp_path / "a.csv", pairs)
    wanted, _ = predicted(capsys, student.checkpoint, table)
    lines = (json.dumps({"q": a, "n": 1, "p": b}) + "\n" for a, b in pairs)
    (tmp_path / "a.jsonl").write_text("".join(lines))
    (tmp_path / "a.data").write_text("p\tq\n" + "".join(f"{b}\t{a}\n" for a, b in pairs))
    for name, *more in (("a.jsonl",), ("a.data", "--format", "tsv")):
        words = [student.checkpoint, tmp_path / name, "--text", "q,p", *more]
        assert predicted(capsys, *words)[0] == wanted
    (tmp_path / "a.txt").write_text("the soup\n\ncold", newline="\n")  # the second one is empty
    rows, _ = predicted(capsys, other, tmp_path / "a.txt")
    assert len(rows) == 3
    shutil.copy(tmp_path / "a.txt", tmp_path / "a.TXT")
    assert predicted(capsys, other, tmp_path / "a.TXT")[0] == rows
    with open(tmp_path / "a.txt") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert predicted(capsys, other, "-")[0] == rows


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_empty_lines_of_a_table(tmp_path, capsys, other, end):
    """In the only column they are texts; in a wider table, and before its header, they are none."""
    lines = ["the soup", "", "cold", ""]
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in lines))
    wanted, _ = predicted(capsys, other, tmp_path / "a.txt")
    for kind, comma in (("csv", ","), ("tsv", "\t")):
        table = tmp_path / f"a.{kind}"
        table.write_text("".join(f"{line}{end}" for line in ["", "text", *lines]), newline="")
        assert predicted(capsys, other, table)[0] == wanted and len(wanted) == 4
        wide = ["", "text,id", "the soup,1", "", "cold,2", ""]
        table.write_text("".join(f"{line}{end}" for line in wide).replace(",", comma), newline="")
        assert predicted(capsys, other, table)[0] == wanted[::2]


def test_memory_does_not_grow_with_the_number_of_texts(tmp_path, capsys, monkeypatch, other):
    """No more than BATCHES batches of texts are held."""
    from mixkd_plugin.tools.predict import predict as module

    sizes, logits_of = [], module.logits_of

    def counted(student, texts, batch_size):
        sizes.append(len(texts))
        return logits_of(student, texts, batch_size)

    monkeypatch.setattr(module, "logits_of", counted)
    (tmp_path / "a.txt").write_text("the soup\n" * 70)
    rows, _ = predicted(capsys, other, tmp_path / "a.txt", "--batch-size", 2)
    assert len(rows) == 70 and max(sizes) == 2 * module.BATCHES and len(sizes) == 3


def test_the_output_is_complete_or_not_there(tmp_path, capsys, monkeypatch, other):
    (tmp_path / "a.csv").write_text("text\nthe soup\ncold\n")
    out = tmp_path / "made" / "out.csv"
    words = [other, tmp_path / "a.csv", "--out", out]
    predicted(capsys, *words)
    first = out.read_text()
    assert len(read(first)) == 2
    assert "--out must be new, got" in error_of(main, "predict", *words)
    (tmp_path / "a.csv").write_text("text\nthe soup\ncold,cold\n")
    with monkeypatch.context() as patch:  # before anything is computed
        patch.setattr("mixkd_plugin.tools.predict.predict.logits_of", None)
        assert "a.csv, line 3" in error_of(main, "predict", *words, "--force")
        for folder in (out.parent, f"{tmp_path}/new/"):
            said = error_of(main, "predict", *words[:-1], folder, "--force")
            assert f"--out must be a file, got the folder '{folder}'" in said
    assert out.read_text() == first and os.listdir(out.parent) == ["out.csv"]
    (tmp_path / "a.csv").write_text("text\nx\n")
    predicted(capsys, *words, "--force")
    assert len(read(out.read_text())) == 1


def test_refusals(tmp_path, student, folders, other):
    table = write_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("x,y,z\n1,2,3\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "lines.txt").write_text("the soup\n")
    of_fairseq, of_hf = student.checkpoint, folders["hf"]
    for words, message in (
        ((tmp_path, table), "STUDENT must be a checkpoint"),
        ((of_fairseq, table, "--text", "sentence1"), "--text must name 2 columns"),
        ((of_hf, table, "--text", "sentence1"), "--text must name 2 columns"),
        ((folders["onnx"], table, "--text", "sentence1"), "--text must name 2 columns"),
        ((of_hf, tmp_path / "lines.txt"), "--text must name 2 columns"),
        ((of_fairseq, tmp_path / "b.csv"), "--text must name"),
        ((of_fairseq, table, "--text", "nope,sentence1"), "no column nope"),
        ((of_hf, table, "--max-length", "100"), "--max-length must be <= "),
        ((of_hf, table, "--tokenizer", "hf:x"), "--tokenizer must be given with a checkpoint"),
        ((of_hf, table, "--device", "nope"), "--device must be"),
        ((other, tmp_path / "empty.txt"), "empty.txt is empty"),
        ((of_hf, tmp_path / "none.txt"), "no file"),
        ((of_hf, tmp_path / "a.doc"), "--format"),
        ((folders["onnx"], table, "--device", "cuda"), "--device must be cpu for ONNX"),
    ):
        assert message in error_of(main, "predict", *words), words


def test_the_tokenizer_is_the_one_that_encoded_the_data(tmp_path, capsys, student):
    """Named by the data folder, which may move together with it; a flag wins."""
    for name in ("tokenizer", "data", "student"):
        shutil.copytree(os.path.join(os.path.dirname(student.data), name), tmp_path / name)
    table = write_table(tmp_path / "texts.csv", PAIRS[:2])
    words = [tmp_path / "student" / "checkpoint_last.pt", table, "--data", tmp_path / "data"]
    wanted, _ = predicted(capsys, student.checkpoint, table)
    assert predicted(capsys, *words)[0] == wanted
    shutil.move(tmp_path / "tokenizer", tmp_path / "moved")
    gone = error_of(main, "predict", *words)
    assert "--tokenizer must be given" in gone and f"wordpiece:{tmp_path / 'tokenizer'}" in gone
    words += ["--tokenizer", f"wordpiece:{tmp_path / 'moved'}"]
    assert predicted(capsys, *words)[0] == wanted
    (tmp_path / "data" / "encoding.json").unlink()
    assert predicted(capsys, *words)[0] == wanted
    assert "--tokenizer must be given" in error_of(main, "predict", *words[:-2])


def test_max_length_is_the_callers(tmp_path, capsys, student):
    table = write_table(tmp_path / "texts.csv", [LONG])
    short = student.logits([(" ".join(["the soup"] * 6), "was cold")]).softmax(dim=1)[0]
    pieces = len(students.build_tokenizer(student.tokenizer).encode("the soup")) * 6
    end = len(students.build_tokenizer(student.tokenizer).encode("was cold"))
    length = pieces + end + 3  # <s>, </s>, </s>
    rows, said = predicted(capsys, student.checkpoint, table, "--max-length", length)
    check(rows, [dict(zip(CLASSES, short.tolist()))])
    assert "1 of them cut to" in said
