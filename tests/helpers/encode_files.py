"""Texts in files, the encode command on them, and what its data folder holds."""

import csv
import io
import json

import pytest
import tokenizers
from fairseq.data import data_utils
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from mixkd_plugin.tools.encode import encode as command
from mixkd_plugin.tools.encode import main
from mixkd_plugin.tools.encode.sources import Source, glue_source
from mixkd_plugin.tools.texts.reading import Columns

WORDS = [
    "the", "soup", "##s", "was", "not", "cold", '"', "'", ",", ".", "na", "##ive", "a", "b", "c",
]  # fmt: skip


def write_model(folder, words=WORDS):
    """A tokenizer's folder as import_hf leaves it, with a tokenizer.json that truncates."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in vocabulary))
    (folder / "dict.txt").write_text("".join(f"{w} 1\n" for w in words))
    tokenizer = tokenizers.BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_glue(folder, header, train, dev=None, dev_name="dev.tsv", encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train.tsv", train), (dev_name, dev or train)):
        text = "".join("\t".join(row) + "\n" for row in ([header] if header else []) + rows)
        (folder / name).write_bytes(text.encode(encoding))
    return folder


def decoded(data, split="valid"):
    """[(text or texts as symbols, class or score), ...] as fairseq's task reads the folder."""
    dictionary = SentencePredictionTask.load_dictionary(str(data / "input0" / "dict.txt"))
    columns = []
    for i in range(2):
        dataset = data_utils.load_indexed_dataset(str(data / f"input{i}" / split), dictionary)
        if dataset is not None:
            columns.append([dictionary.string(tokens) for tokens in dataset])
    if (data / "label" / f"{split}.label").exists():
        labels = [float(x) for x in (data / "label" / f"{split}.label").read_text().split()]
    else:
        names = SentencePredictionTask.load_dictionary(str(data / "label" / "dict.txt"))
        dataset = data_utils.load_indexed_dataset(str(data / "label" / split), names)
        labels = [int(tokens[0]) - names.nspecial for tokens in dataset]
    return list(zip(*columns, labels))


def rows_of(data, flags):
    """The symbols of each training pair, as fairseq's sentence_prediction lays them out."""
    dictionary = SentencePredictionTask.load_dictionary(str(data / "input0" / "dict.txt"))
    texts = (
        data_utils.load_indexed_dataset(str(data / f"input{i}" / "train"), dictionary)
        for i in range(2)
    )
    between = [2] if "--separator-token 2" in flags else []
    rows = [[0, *a.tolist(), *between, *b.tolist()] for a, b in zip(*texts)]
    return [[dictionary[i] for i in row] for row in rows]


def encode_glue(glue, task, model, out, **kwargs):
    return command.encode(glue_source(str(glue), task), f"wordpiece:{model}", str(out), **kwargs)


FEW = [("a b c", "yes"), ("cold soup!", "no")]


def write(path, columns, rows, encoding="utf-8"):
    """By the libraries that write such files; ``columns`` None: no header line."""
    file, kind = io.StringIO(), path.suffix[1:]
    if kind == "jsonl":
        for row in rows:
            file.write(json.dumps(dict(zip(columns, row)), ensure_ascii=False) + "\n")
    else:
        quoting = {"tsv": dict(quoting=csv.QUOTE_NONE, delimiter="\t", quotechar=None), "csv": {}}
        writer = csv.writer(file, **quoting[kind])
        writer.writerows([*([columns] if columns else []), *rows])
    path.write_bytes(file.getvalue().encode(encoding))
    return path


def encode_table(path, rows, tokenizer, out, texts=("a", "b"), **options):
    """Write rows of texts and a label to a file, and encode that; the flags that it prints."""
    write(path, [*texts, "label"], rows)
    files = dict.fromkeys(("train", "valid"), str(path))
    source = Source(files, Columns((*texts,), ("label",)), None)
    return command.encode(source, tokenizer, str(out), **options)


def flags_of(train, valid, tokenizer, out, text="text", label="label"):
    return ["--train", train, "--valid", valid, "--text", text, "--label", label,
            "--tokenizer", tokenizer, "--out", out]  # fmt: skip


def encode(*args):
    """The command's main function."""
    main([str(a) for a in args])


def refused(*args):
    with pytest.raises(SystemExit) as error:
        encode(*args)
    assert str(error.value).startswith("encode: ")
    return str(error.value)


def files_of(folder):
    """Every file's bytes. fairseq's log has the command line in it, and this file no data."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "preprocess.log"
    }


def classes(data):
    return [line.split()[0] for line in (data / "label" / "dict.txt").read_text().splitlines()]


def labelled(folder, labels, suffix):
    """Every label as it is in JSON lines, as text in the others."""
    rows = [("a b c", label) for label in labels]
    if suffix != "jsonl":
        rows = [(text, "" if label is None else label) for text, label in rows]
    return write(folder / f"t.{suffix}", ["text", "label"], rows)


def said_of(folder, labels, tokenizer, suffix="csv", *flags):
    path = labelled(folder, labels, suffix)
    said = refused(*flags_of(path, path, tokenizer, folder / "d"), *flags)
    assert not (folder / "d").exists() and "\n" not in said
    return said
