"""encode of files of one's own: bad input is one error, and nothing is written."""

import pytest
from encode_files import FEW, flags_of, refused, write

BAD_FILES = {
    "csv, no column": ("t.csv", "txt,label\na,x\n", "t.csv: no column text, only txt, label"),
    "csv, two columns": ("t.csv", "text,text,label\na,b,x\n", "2 columns are called text"),
    "csv, fields": ("t.csv", "text,label\n\"a\nb\",x\nb\n", "line 4: 1 fields where the first"),
    "csv, open quote": ("t.csv", 'text,label\na,x\n"b,y\nc,x\n', "line 3: not CSV: unexpected end"),
    "csv, after quote": ("t.csv", 'text,label\n"b"b,y\n', "line 2: not CSV: "),
    "json": ("t.jsonl", '{"text": "a", "label": "x"}\n{"text"\n', "line 2: not JSON: "),
    "json, list": ("t.jsonl", "[1, 2]\n", "line 1: not an object: a list"),
    "json, deep": ("t.jsonl", "[" * 200000 + "\n", "line 1: not JSON: "),
    "json, no key": ("t.jsonl", '{"txt": "a", "label": 1}\n', "1: no column text, only txt, label"),
    "json, list as text": ("t.jsonl", '{"text": ["a"], "label": 1}\n', "text must be text"),
    "json, half a pair": ("t.jsonl", '{"text": "\\ud83d", "label": 1}\n', 'text is "\\ud83d", ha'),
    "empty": ("t.tsv", "", "t.tsv is empty"),
    "header alone": ("t.tsv", "text\tlabel\n", "t.tsv has no example"),
    "empty label": ("t.tsv", "text\tlabel\na\t \n", "at least 2 classes, got 0"),
    "one class": ("t.tsv", "text\tlabel\na\tx\n", "at least 2 classes, got 1 (x)"),
    "fairseq's own": ("t.tsv", "text\tlabel\na\t<pad>\nb\tx\n", "got '<pad>'"),
    "latin": ("t.tsv", b"text\tlabel\n\xe4\tx\n", "t.tsv must be UTF-8, got line 2"),
    "UTF-16": ("t.csv", "text,label\na,x\n".encode("utf-16"), "as by iconv"),
    "suffix": ("t.txt", "text\tlabel\na\tx\n", "t.txt must be a file that ends in .tsv"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_error_and_nothing_is_written(tmp_path, wordpiece, case):
    name, content, message = BAD_FILES[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refused(*flags_of(path, path, wordpiece, tmp_path / "d"))
    assert message in said and str(path) in said
    assert [p.name for p in tmp_path.iterdir()] == [name]


BAD_LINES = {  # of the validation file, where classes and columns are known
    "unknown": ([("a", "maybe")], [], "v.csv, line 2: label must be one of no, yes, got 'maybe'; "
                "if that is a class: --labels=no,yes,maybe"),
    "empty": ([("a", "no"), ("a", "")], ["--unlabelled"], "v.csv, line 3: label must"),
    "word": ([("a", "1"), ("a", "yes")], ["--regression"],
             "line 3: score must be a number, got 'yes'"),
    "infinite": ([("a", "inf")], ["--regression"],
                 "line 2: score must be a finite number of 32 bits, got"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_label_of_validation(tmp_path, wordpiece, case):
    rows, flags, message = BAD_LINES[case]
    few = [("a", "1")] if "--regression" in flags else FEW
    train = write(tmp_path / "t.csv", ["text", "label"], few)
    valid = write(tmp_path / "v.csv", ["text", "label"], rows)
    said = refused(*flags_of(train, valid, wordpiece, tmp_path / "d"), *flags)
    assert message in said and not (tmp_path / "d").exists()


BAD_FLAGS = [
    ({"--text": "a,b,c"}, "--text must be one column, or the two of a pair, got a,b,c"),
    ({"--label": "a,b"}, "--label must be one column, or with"),
    ({"--format": "xml"}, "--format must be one of tsv, csv, jsonl, got 'xml'"),
    ({"--format": "tsv"}, 't.csv: no column text, label, only "text,label" ('),
    ({"--no-header": None}, "--text must be a position from 0 with --no-header, got 'text'"),
    ({"--no-header": None, "--text": "0", "--label": "2"}, "must have 3 fields"),
    ({"--no-header": None, "--format": "jsonl"}, "--no-header must be absent for JSON lines, got"),
    ({"--labels": "yes"}, "--labels must have at least 2 classes, got 1 (yes)"),
    ({"--labels": "yes,,no"}, "fairseq, got ''"),
    ({"--labels": "yes,no,yes"}, "--labels: classes must differ, got 'yes' and 'yes'"),
    ({"--labels": "1,2", "--regression": None}, "--labels must be absent with --regression, got"),
    ({"--workers": "0"}, "--workers must be >= 1, got 0"),
    ({"--max-tokens": "2"}, "--max-length must leave room for each text, got 2"),
    ({"--train": "none.csv"}, "no file none.csv"),
    ({"--train": "."}, "--train . must be a file that ends in"),
    ({"--train": ".", "--format": "csv"}, ". is a folder"),
    ({"--glue": "g"}, "got --glue and --train"),
    ({"--task": "RTE"}, "--task must be given with --glue, got --train"),
    ({"--train": "DROP"}, "must be either --glue DIR --task NAME or --train FILE"),
    ({"--valid": "DROP"}, "--valid must be given with --train"),
    ({"--train": "DROP", "--glue": "g"}, "--task must be given with --glue"),
    ({"--train": "DROP", "--glue": "g", "--task": "RTE"}, "given with --train, got --glue"),
]  # fmt: skip


@pytest.mark.parametrize("change, message", BAD_FLAGS)
def test_bad_flags(tmp_path, wordpiece, change, message):
    path = write(tmp_path / "t.csv", ["text", "label"], FEW)
    given = flags_of(path, path, wordpiece, tmp_path / "d")
    given = {**dict(zip(given[::2], given[1::2])), **change}
    flags = [a for pair in given.items() if pair[1] != "DROP" for a in pair if a is not None]
    assert message in refused(*flags)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_broken_tokenizers_and_dictionaries(tmp_path, wordpiece):
    path = write(tmp_path / "t.csv", ["text", "label"], FEW)
    for kind, name in (("wordpiece", "tokenizer.json"), ("gpt2", "encoder.json")):
        folder = tmp_path / kind
        folder.mkdir()
        for file in (name, "vocab.bpe"):
            (folder / file).write_text("{")
        said = refused(*flags_of(path, path, f"{kind}:{folder}", tmp_path / "d"))
        assert said.startswith(f"encode: --tokenizer {kind}:{folder}: ")
    said = refused(*flags_of(path, path, f"sentencepiece:{path}", tmp_path / "d"))
    assert said.startswith(f"encode: --tokenizer sentencepiece:{path}: ")
    dictionary = tmp_path / "dict.txt"
    dictionary.write_text("a 1\na 1\n")
    flags = [*flags_of(path, path, wordpiece, tmp_path / "d"), "--dict", dictionary]
    assert f"--dict {dictionary}: Duplicate word" in refused(*flags)
