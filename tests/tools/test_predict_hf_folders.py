"""predict: Hugging Face folders that `mixkd export` did not write."""

import json
import shutil

import hf_models
import pytest
import torch
from exported import NEW_PAIRS
from predictions import check, pipeline_of, predicted, write_table
from refusals import error_of

from mixkd_plugin.__main__ import main


def test_a_model_of_another_origin_equals_the_pipeline(tmp_path, capsys, transformers):
    """A BERT of two token types, whose tokenizer knows no longest text."""
    hf_models.make("bert", tmp_path / "bert", transformers, num_labels=3)
    table = write_table(tmp_path / "texts.csv", NEW_PAIRS)
    rows, _ = predicted(capsys, tmp_path / "bert", table)
    check(rows, pipeline_of(transformers, str(tmp_path / "bert"), NEW_PAIRS))
    assert [*rows[0]] == ["label", "LABEL_0", "LABEL_1", "LABEL_2"]


def test_relative_positions_have_no_longest_text(tmp_path, capsys, transformers):
    """XLNet's config has -1 positions, and its tokenizer here no longest text."""
    hf_models.make("bert", tmp_path / "bert", transformers, num_labels=3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "bert", padding_side="left")
    sizes = {"d_model": 24, "n_layer": 1, "n_head": 4, "d_inner": 40, "pad_token_id": 0}
    config = transformers.XLNetConfig(vocab_size=len(tokenizer), num_labels=3, **sizes)
    transformers.XLNetForSequenceClassification(config).save_pretrained(tmp_path / "xlnet")
    tokenizer.save_pretrained(tmp_path / "xlnet")
    table = write_table(tmp_path / "texts.csv", NEW_PAIRS)
    wanted = pipeline_of(transformers, str(tmp_path / "xlnet"), NEW_PAIRS)
    for flags in ([], ["--max-length", "400"]):
        rows, _ = predicted(capsys, tmp_path / "xlnet", table, *flags)
        check(rows, wanted)


def test_positions_that_begin_after_padding(tmp_path, capsys, transformers):
    """MPNet's: its config counts all rows of the table, and its tokenizer here has no limit."""
    hf_models.make("roberta", tmp_path / "bpe", transformers, num_labels=2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "bpe")
    tokenizer.model_max_length = 10**6
    sizes = {**hf_models.SIZES, "vocab_size": len(tokenizer), "pad_token_id": 1}
    config = transformers.MPNetConfig(**sizes, num_labels=2)
    transformers.MPNetForSequenceClassification(config).save_pretrained(tmp_path / "mpnet")
    tokenizer.save_pretrained(tmp_path / "mpnet")
    (tmp_path / "a.txt").write_text("the soup was cold " * 99)
    _, said = predicted(capsys, tmp_path / "mpnet", tmp_path / "a.txt")
    assert f"1 of them cut to {hf_models.SIZES['max_position_embeddings'] - 2}" in said


def test_ends_of_lines_are_read_as_by_the_pipeline(tmp_path, capsys, transformers):
    """Byte-level BPE has pieces for them."""
    hf_models.make("roberta", tmp_path / "roberta", transformers, num_labels=2)
    texts = [("the soup\nwas cold", "a\nb"), ("the soup was cold", "a b"), ("the\r\nsoup", "b")]
    table = write_table(tmp_path / "texts.csv", texts)
    rows, _ = predicted(capsys, tmp_path / "roberta", table)
    check(rows, pipeline_of(transformers, str(tmp_path / "roberta"), texts))
    assert rows[0] != rows[1]


def test_half_precision_weights_are_computed_in_float32(tmp_path, capsys, transformers):
    model = hf_models.make("bert", tmp_path / "bert", transformers, num_labels=3).bfloat16()
    shutil.copytree(tmp_path / "bert", tmp_path / "half")
    model.save_pretrained(tmp_path / "half")
    model.float().save_pretrained(tmp_path / "bert")  # the same numbers
    table = write_table(tmp_path / "texts.csv", NEW_PAIRS)
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "bfloat16"
    whole, half = (predicted(capsys, tmp_path / name, table)[0] for name in ("bert", "half"))
    assert whole == half


def test_regression_is_numbers(tmp_path, capsys, transformers):
    folder = tmp_path / "bert"
    config = transformers.BertConfig(**hf_models.SIZES, vocab_size=200, num_labels=1,
                                     problem_type="regression")  # fmt: skip
    folder.mkdir()
    hf_models.WRITERS["wordpiece"](folder)
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    (tmp_path / "a.txt").write_text("the soup\nwas cold\n" + "the soup " * 99)
    rows, said = predicted(capsys, folder, tmp_path / "a.txt")
    texts = (tmp_path / "a.txt").read_text().splitlines()
    classify = transformers.pipeline("text-classification", str(folder), tokenizer=tokenizer,
                                     truncation=True, max_length=80)  # fmt: skip
    wanted = [one["score"] for one in classify(texts)]
    assert [float(row["value"]) for row in rows] == pytest.approx(wanted, abs=1e-5)
    assert [*rows[0]] == ["value"] and "1 of them cut to 80" in said
    hf_models.change(folder / "config.json", problem_type="multi_label_classification")
    rows, _ = predicted(capsys, folder, tmp_path / "a.txt")  # transformers' sigmoid of one class
    values = torch.tensor(wanted).sigmoid().tolist()
    assert [float(row["LABEL_0"]) for row in rows] == pytest.approx(values, abs=1e-5)
    hf_models.change(folder / "config.json", id2label={"0": 7})  # a number: transformers keeps it
    rows, _ = predicted(capsys, folder, tmp_path / "a.txt")
    assert [row["label"] for row in rows] == ["7" if v > 0.5 else "" for v in values]


def test_the_only_column_is_the_text_and_is_named(tmp_path, capsys, transformers):
    """So that a first text which was taken for the header is seen."""
    hf_models.make("roberta", tmp_path / "bpe", transformers, num_labels=2)
    (tmp_path / "a.csv").write_text("the soup\ncold\n")
    (tmp_path / "a.txt").write_text("the soup\ncold\n")
    for name, count, said in (("a.csv", 1, True), ("a.txt", 2, False)):
        rows, shown = predicted(capsys, tmp_path / "bpe", tmp_path / name)
        assert len(rows) == count and ("text is the soup\n" in shown) == said
    rows, shown = predicted(capsys, tmp_path / "bpe", tmp_path / "a.csv", "--text", "the soup")
    assert len(rows) == 1 and "text is" not in shown
    for name, header in (("a.tsv", "id,review"), ("a.csv", "id;review")):
        (tmp_path / name).write_text(f"{header}\n1;cold\n")
        said = error_of(main, "predict", tmp_path / "bpe", tmp_path / name)
        assert "--text must name" in said and header in said
        assert "separate columns by commas" in said
    assert len(predicted(capsys, tmp_path / "bpe", tmp_path / "a.csv", "--text", "id;review")[0])
    (tmp_path / "a.csv").write_text('"a;b",x\n1,2\n')  # it was split
    assert "separate columns" not in error_of(main, "predict", tmp_path / "bpe", tmp_path / "a.csv")
