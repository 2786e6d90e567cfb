"""encode of files of one's own: what comes out of fairseq's data folder is what was in them."""

import inprocess
import pytest
import toy
from encode_files import FEW, classes, decoded, encode, flags_of, refused, write, write_glue
from fairseq import tasks
from tiny_tokenizers import KINDS, TEXT

from mixkd_plugin.tokenizers.subwords import build_tokenizer

FORMATS = ("tsv", "csv", "jsonl")
ACCENTS = str.maketrans("ïü", "iu")


def same_text(kind, found, text):
    if kind == "wordpiece":  # lower case, without accents; blanks beside punctuation are lost
        found, text = found.replace(" ", ""), text.lower().translate(ACCENTS).replace(" ", "")
    assert found == text


# --- round trips ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_single_texts_come_back(tmp_path, tokenizers, suffix, kind):
    """Through fairseq's dictionary and dataset; a byte-order mark, which is no text."""
    rows = [(text, str(i), ("good", "bad")[i % 2]) for i, text in enumerate(TEXT)]
    columns = ["text", "id", "label"]
    encoding = "utf-8-sig" if suffix == "csv" else "utf-8"
    train = write(tmp_path / f"train.{suffix}", columns, rows, encoding)
    valid = write(tmp_path / f"dev.{suffix}", columns, rows[::-1], encoding)
    encode(*flags_of(train, valid, tokenizers[kind], tmp_path / "data"))
    decode = build_tokenizer(tokenizers[kind]).decode
    for split, expected in (("train", rows), ("valid", rows[::-1])):
        found = decoded(tmp_path / "data", split)
        assert len(found) == len(rows)
        for (symbols, label), (text, _, name) in zip(found, expected):
            same_text(kind, decode(symbols.split()), text)
            assert label == ("bad", "good").index(name)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_come_back_through_the_task(tmp_path, tokenizers, kind):
    """Set up with the flags of train_flags.txt: the layout of pairs, an empty text, the classes."""
    pairs = [(TEXT[i], TEXT[-i - 1], label) for i, label in enumerate(["x", "y", "x", "y"])]
    pairs += [("", "a b c", "y"), ("a b c", "", "x"), ("", "", "x")]
    train = write(tmp_path / "train.jsonl", ["a", "b", "c"], pairs)
    data = tmp_path / "data"
    encode(*flags_of(train, train, tokenizers[kind], data, "a,b", "c"))
    flags = (data / "train_flags.txt").read_text().split()
    config = inprocess.training_config(toy.train_flags(data, "unused", *flags))
    task = tasks.setup_task(config.task)
    dataset = task.load_dataset("valid", combine=False)
    decode = build_tokenizer(tokenizers[kind]).decode
    separator = ["</s>", "</s>"] if kind != "wordpiece" else ["</s>"]
    for i, (*texts, label) in enumerate(pairs):
        symbols = [task.source_dictionary[t] for t in dataset[i]["net_input.src_tokens"]]
        assert (symbols[0], symbols[-1]) == ("<s>", "</s>")
        middle = symbols.index("</s>")
        assert symbols[middle : middle + len(separator)] == separator
        same_text(kind, decode(symbols[1:middle]), texts[0])
        same_text(kind, decode(symbols[middle + len(separator) : -1]), texts[1])
        assert dataset[i]["target"] == "xy".index(label)


def test_ends_of_lines_inside_texts_are_the_tokenizers(tmp_path, tokenizers, capsys):
    """Byte-level BPE has pieces for them, as in transformers."""
    rows = [("a\nb", "yes"), ("a\r\nb \n c", "no"), ('say "a, b"', "no")]
    for suffix in ("csv", "jsonl"):
        train = write(tmp_path / f"t.{suffix}", ["text", "label"], rows)
        out = tmp_path / suffix
        encode(*flags_of(train, train, tokenizers["gpt2"], out))
        decode = build_tokenizer(tokenizers["gpt2"]).decode
        texts = [decode(symbols.split()) for symbols, _ in decoded(out)]
        assert texts == [text for text, _ in rows]
    # tab-separated: quotation marks hold nothing together
    (tmp_path / "t.tsv").write_bytes(b'text\tlabel\r\n"a\tyes\r\nb" "\tno\r\n')
    tsv = tmp_path / "t.tsv"
    encode(*flags_of(tsv, tsv, tokenizers["gpt2"], tmp_path / "tsv"))
    assert [(decode(s.split()), c) for s, c in decoded(tmp_path / "tsv")] == [
        ('"a', 1),
        ('b" "', 0),
    ]


def test_an_empty_text_is_an_empty_line_of_fairseqs(tmp_path, tokenizers, capsys):
    rows = [("", "yes"), ("cold", "no"), ("  ", "no")]
    train = write(tmp_path / "t.csv", ["text", "label"], rows)
    encode(*flags_of(train, train, tokenizers["wordpiece"], tmp_path / "d"))
    assert decoded(tmp_path / "d") == [("", 1), ("cold", 0), ("", 0)]
    assert "3 examples, 2 of them with an empty text" in capsys.readouterr().out


def test_empty_lines_of_csv_and_suffixes_of_other_systems(tmp_path, tokenizers):
    path = tmp_path / "T.CSV"
    path.write_text("\ntext,label\na,x\n\nb,y\n\n")
    encode(*flags_of(path, path, tokenizers["wordpiece"], tmp_path / "d"))
    assert decoded(tmp_path / "d") == [("a", 0), ("b", 1)]
    path.write_text("text,label\na,x\n\nb,y,z\n\n")
    said = refused(*flags_of(path, path, tokenizers["wordpiece"], tmp_path / "e"))
    assert "line 4: 3 fields" in said


# --- labels ---


@pytest.mark.parametrize(
    "labels, order",
    [
        (["10", "9", "-1", "9"], ["-1", "9", "10"]),
        (["10", "9", "x", "9"], ["10", "9", "x"]),
        ([2, 10, 2, 2], ["2", "10"]),  # numbers of JSON
        ([True, False, True, True], ["false", "true"]),
        (["very bad", "good", "very  bad", "so so"], None),
        (["very bad", "good", " good ", "so so"], ["good", "so_so", "very_bad"]),
    ],
)
def test_classes_are_those_of_training_in_order(tmp_path, tokenizers, labels, order, capsys):
    train = write(tmp_path / "t.jsonl", ["text", "label"], [("a", label) for label in labels])
    flags = flags_of(train, train, tokenizers["wordpiece"], tmp_path / "d")
    if order is None:
        assert "line 3: label 'very  bad' looks like 'very bad' of line 1" in refused(*flags)
        return
    encode(*flags)
    assert classes(tmp_path / "d") == order
    names = ["_".join(str(label).split()) for label in labels]
    names = [name if name in order else name.lower() for name in names]
    assert [c for _, c in decoded(tmp_path / "d")] == [order.index(name) for name in names]
    assert ("classes (blanks become _): 0 = good, 1 = so_so" in capsys.readouterr().out) == (
        "so_so" in order
    )


def test_labels_flag_orders_and_adds_classes(tmp_path, tokenizers):
    train = write(tmp_path / "t.csv", ["text", "label"], FEW)
    flags = flags_of(train, train, tokenizers["wordpiece"], tmp_path / "d")
    encode(*flags, "--labels", "yes,never seen,no")
    assert classes(tmp_path / "d") == ["yes", "never_seen", "no"]
    assert [c for _, c in decoded(tmp_path / "d")] == [0, 2]
    assert (tmp_path / "d" / "train_flags.txt").read_text() == "--num-classes 3 --init-token 0\n"


def test_as_many_classes_as_examples_are_warned_about(tmp_path, tokenizers, capsys):
    rows = [("a b c", f"id{i}") for i in range(30)]
    train = write(tmp_path / "t.csv", ["text", "label"], rows)
    encode(*flags_of(train, train, tokenizers["wordpiece"], tmp_path / "d"))
    assert "WARNING: 30 classes in 30 training examples" in capsys.readouterr().out


def test_regression_writes_numbers_as_they_are(tmp_path, tokenizers):
    rows = [("a", "1.50", "-2"), ("b", "1e3", " 0"), ("c", "", "")]
    train = write(tmp_path / "t.tsv", None, rows)
    valid = write(tmp_path / "v.tsv", None, rows[:2])
    flags = flags_of(train, valid, tokenizers["wordpiece"], tmp_path / "d", 0, "1,2")
    encode(*flags, "--no-header", "--regression", "--unlabelled")
    assert (tmp_path / "d" / "label" / "train.label").read_text() == "1.50 -2\n1e3 0\nnan nan\n"
    assert (tmp_path / "d" / "label" / "valid.label").read_text() == "1.50 -2\n1e3 0\n"
    assert (tmp_path / "d" / "train_flags.txt").read_text() == (
        "--num-classes 2 --init-token 0 --unlabelled-examples allow --regression-target\n"
    )


def test_unlabelled_bad_lines_and_several_validation_sets(tmp_path, tokenizers, capsys):
    train = tmp_path / "train.jsonl"
    train.write_text(
        '{"text": "a", "label": "x"}\n{"text": "b", "label": null}\nnonsense\n'
        '{"label": "x"}\n{"text": "c", "label": "y"}\n'
    )
    one = write(tmp_path / "one.csv", ["label", "text"], [("y", "b")])
    two = write(tmp_path / "two.tsv", ["text", "label"], [("c", "x"), ("a", "x")])
    flags = flags_of(train, f"{one},{two}", tokenizers["wordpiece"], tmp_path / "d")
    encode(*flags, "--unlabelled", "--skip-bad-lines")
    assert decoded(tmp_path / "d", "train") == [("a", 0), ("b", -1), ("c", 1)]
    assert decoded(tmp_path / "d", "valid") == [("b", 1)]
    assert decoded(tmp_path / "d", "valid1") == [("c", 0), ("a", 0)]
    said = capsys.readouterr().out
    assert f"train ({train}): 3 examples, 1 of them without a label, " in said
    assert "; 2 lines left out" in said


def test_glue_in_another_order_of_classes(tmp_path, tokenizers):
    header = ["sentence1", "sentence2", "gold_label"]
    rows = [["a", "b", label] for label in ("entailment", "neutral", "contradiction")]
    glue = write_glue(tmp_path / "g", header, rows, rows, "dev_matched.tsv")
    write_glue(glue, header, rows, rows, "dev_mismatched.tsv")
    flags = ["--tokenizer", tokenizers["wordpiece"], "--out", tmp_path / "d", "--glue", glue]
    encode(*flags, "--task", "MNLI", "--labels", "neutral,entailment,contradiction")
    assert [c for *_, c in decoded(tmp_path / "d", "valid1")] == [1, 0, 2]
    message = refused(*flags, "--task", "MNLI", "--labels", "neutral,entailment")
    assert "--labels must be the classes of MNLI in any order" in message
    message = refused(*flags, "--task", "STS-B", "--labels", "a,b")
    assert "--labels must be absent for the scores of STS-B" in message


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_line_is_none(tmp_path, tokenizers, kind):
    train = write(tmp_path / f"t.{kind}", ["text", "label"], FEW)
    train.write_bytes(train.read_bytes().replace(b"\n", b"\n\r\n"))
    encode(*flags_of(train, train, tokenizers["wordpiece"], tmp_path / "d"))
    assert len(decoded(tmp_path / "d")) == len(FEW)


@pytest.mark.parametrize("flag", ["--train", "--valid", "--text", "--label"])
def test_a_flag_given_twice(tmp_path, tokenizers, capsys, flag):
    """argparse would take the last file, and silently drop the first."""
    train = write(tmp_path / "t.csv", ["text", "label"], FEW)
    flags = flags_of(train, train, tokenizers["wordpiece"], tmp_path / "d")
    with pytest.raises(SystemExit) as end:
        encode(*flags, flag, "x")
    assert end.value.code == 2 and not (tmp_path / "d").exists()
    assert f"{flag} must be given once, got " in capsys.readouterr().err
