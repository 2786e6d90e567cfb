"""encode: what comes out of fairseq's data folder is what went into the GLUE files."""

import os
from pathlib import Path

import pytest
import sentencepiece
from encode_files import WORDS, decoded, encode_glue, write_glue, write_model

from mixkd_plugin.fingerprints import read_digests
from mixkd_plugin.tools.encode.binarizing import truncate
from mixkd_plugin.tools.encode.encode import encode
from mixkd_plugin.tools.encode.sources import glue_source
from mixkd_plugin.tools.texts.examples import read_examples
from mixkd_plugin.tools.texts.glue import TASKS
from mixkd_plugin.tools.texts.reading import read_table

GLUE = Path(os.environ.get("GLUE_DIR", Path(__file__).resolve().parents[3] / "shared" / "glue"))


def test_single_sentences(tmp_path, model):
    """Quotes, a byte-order mark, carriage returns, an empty text, accents; index equals label."""
    rows = [
        ['"the soup was cold', "1"],
        ["The soups, 'not' cold.", "0"],
        ["", "0"],
        ['naïve "', "1"],
        ["unheard of", "0\r"],
        ["the soup was not cold the soup was not cold", "1"],
    ]
    glue = write_glue(tmp_path / "g", ["sentence", "label"], rows, encoding="utf-8-sig")
    assert encode_glue(glue, "SST-2", model, tmp_path / "d") == "--num-classes 2 --init-token 0"
    assert decoded(tmp_path / "d") == decoded(tmp_path / "d", "train")
    assert decoded(tmp_path / "d") == [
        ('" the soup was cold', 1),
        ("the soup ##s , ' not ' cold .", 0),
        ("", 0),
        ('na ##ive "', 1),
        ("<unk> <unk>", 0),
        ("the soup was not cold the soup was not cold", 1),  # tokenizer.json's own limit is off
    ]


def test_pairs_and_text_labels(tmp_path, model):
    """MRPC's odd columns; labels by the task's order, though the other one is more frequent."""
    header = ["index", "sentence1", "sentence2", "label"]
    rows = [["7", "a b", "c", "not_entailment"]] * 3 + [["8", "b", "a", "entailment"]]
    flags = encode_glue(write_glue(tmp_path / "g", header, rows), "RTE", model, tmp_path / "d")
    assert flags == "--num-classes 2 --init-token 0"
    assert decoded(tmp_path / "d") == [("a b", "c", 1)] * 3 + [("b", "a", 0)]

    header = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    glue = write_glue(tmp_path / "m", header, [["1", "5", "6", '"a', "b"]], encoding="utf-8-sig")
    flags = encode_glue(glue, "MRPC", model, tmp_path / "dm")
    assert flags == "--num-classes 2 --init-token 0 --report-acc-and-f1"
    assert (tmp_path / "dm" / "train_flags.txt").read_text() == flags + "\n"
    assert decoded(tmp_path / "dm") == [('" a', "b", 1)]


def test_scores_and_files_without_header(tmp_path, model):
    header = ["sentence1", "sentence2", "score"]
    rows = [["a", "b", "5.000"], ["a", "c", "0"], ["b", "c", "3.8"]]
    flags = encode_glue(write_glue(tmp_path / "s", header, rows), "STS-B", model, tmp_path / "ds")
    assert flags == (
        "--num-classes 1 --init-token 0 --regression-target --report-pearson-and-spearman"
    )
    assert [row[2] for row in decoded(tmp_path / "ds")] == [1.0, 0.0, 3.8 / 5]

    cola = write_glue(tmp_path / "c", None, [["gj04", "1", "", "a b"], ["gj04", "0", "*", "c"]])
    assert encode_glue(cola, "CoLA", model, tmp_path / "dc").endswith("--report-mcc")
    assert decoded(tmp_path / "dc") == [("a b", 1), ("c", 0)]


def test_two_validation_sets(tmp_path, model):
    header = ["sentence1", "sentence2", "gold_label"]
    rows = [["a", "b", label] for label in ("entailment", "neutral", "contradiction")]
    glue = write_glue(tmp_path / "g", header, rows, rows[:2], "dev_matched.tsv")
    write_glue(glue, header, rows, rows[1:], "dev_mismatched.tsv")
    encode_glue(glue, "MNLI", model, tmp_path / "d")
    splits = [[c for *_, c in decoded(tmp_path / "d", s)] for s in ("train", "valid", "valid1")]
    assert splits == [[2, 1, 0], [2, 1], [1, 0]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_truncation_is_that_of_the_tokenizer_library(side):
    """Which text of a pair is a token longer, too."""
    import tokenizers

    words = tokenizers.models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="c")
    library = tokenizers.Tokenizer(words)
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    texts = [["ab"[i % 3 == 0] for i in range(length)] for length in range(9)]
    for limit in range(2, 9):
        library.enable_truncation(limit, direction=side)
        for first in texts:
            wanted = library.encode(" ".join(first)).tokens
            assert truncate([first], limit, side) == [wanted]
            for second in texts:
                wanted = library.encode(" ".join(first), " ".join(second)).tokens
                assert sum(truncate([first, second], limit, side), []) == wanted


def test_truncation_takes_from_the_longest(tmp_path, model, capsys):
    assert truncate([list("abcdef"), list("gh")], 5) == [list("abc"), list("gh")]
    assert truncate([list("abc"), list("defg")], 4) == [list("ab"), list("de")]
    assert truncate([list("ab")], 2) == [list("ab")]
    header = ["sentence1", "sentence2", "label"]
    rows = [["a a a a a", "b b", "entailment"], ["a", "b", "entailment"]]
    encode_glue(
        write_glue(tmp_path / "g", header, rows), "RTE", model, tmp_path / "d", max_tokens=8
    )
    # <s> A </s> B </s>: three symbols besides the words
    assert decoded(tmp_path / "d") == [("a a a", "b b", 0), ("a", "b", 0)]
    assert "2 examples, 1 of them cut to 8 tokens" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--max-length must .*, got 4"):
        encode_glue(tmp_path / "g", "RTE", model, tmp_path / "d2", max_tokens=4)


def test_texts_have_one_fingerprint_in_any_vocabulary(tmp_path, model):
    """Of the raw texts of each split, in order: not of labels, tokens, or where they are cut."""
    other = tmp_path / "other"
    other.mkdir()
    write_model(other, [*WORDS[::-1], "soups"])
    header, rows = ["sentence", "label"], [["the soups", "1"], ["a a a a b", "0"], ["c", "0"]]
    glue = write_glue(tmp_path / "g", header, rows, rows[:2])
    encode_glue(glue, "SST-2", model, tmp_path / "a")
    encode_glue(glue, "SST-2", other, tmp_path / "b", max_tokens=4)
    first = read_digests(str(tmp_path / "a"))
    assert sorted(first) == ["train", "valid"] and first["train"] != first["valid"]
    assert first == read_digests(str(tmp_path / "b"))

    def changed(name, rows):
        encode_glue(
            write_glue(tmp_path / f"g{name}", header, rows), "SST-2", model, tmp_path / name
        )
        return read_digests(str(tmp_path / name))["train"] != first["train"]

    assert not changed("labels", [[text, "1"] for text, _ in rows])
    assert changed("order", rows[::-1])
    assert changed("case", [["The soups", "1"], *rows[1:]])
    assert changed("fewer", rows[:2])


@pytest.mark.parametrize("vocabulary", ["vocab.txt", "tokenizer.json"])
def test_one_file_of_the_vocabulary_and_case(tmp_path, model, vocabulary):
    """Whichever there is, do_lower_case of tokenizer_config.json counts."""
    folder = tmp_path / "cased"
    folder.mkdir()
    for name in (vocabulary, "dict.txt"):
        (folder / name).write_bytes((model / name).read_bytes())
    glue = write_glue(tmp_path / "g", ["sentence", "label"], [["The soup", "1"]])
    encode_glue(glue, "SST-2", folder, tmp_path / "lower")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    encode_glue(glue, "SST-2", folder, tmp_path / "cased_data", max_unknown=0.5)
    assert decoded(tmp_path / "lower") == [("the soup", 1)]
    assert decoded(tmp_path / "cased_data") == [("<unk> soup", 1)]


def test_sentencepiece_is_fairseqs(tmp_path):
    """The same symbols as `--bpe sentencepiece` gives; RoBERTa's separator between a pair."""
    text = ["the soup was cold", "the soup was not cold", "a b c", "cold soup"] * 5
    prefix = str(tmp_path / "sentencepiece.bpe")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_prefix=prefix, vocab_size=20
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    names = [pieces.id_to_piece(i) for i in range(3, len(pieces))]
    (tmp_path / "dict.txt").write_text("".join(f"{n} 1\n" for n in names), encoding="utf-8")
    header = ["sentence1", "sentence2", "label"]
    glue = write_glue(tmp_path / "g", header, [["the soup", "cold soup", "entailment"]])
    flags = encode(
        glue_source(str(glue), "RTE"), f"sentencepiece:{prefix}.model", str(tmp_path / "d")
    )
    assert flags == "--num-classes 2 --init-token 0 --separator-token 2"
    wanted = [" ".join(pieces.encode(t, out_type=str)) for t in ("the soup", "cold soup")]
    assert decoded(tmp_path / "d") == [(*wanted, 0)]


@pytest.mark.parametrize(
    ("task", "rows"), [("RTE", 2490), ("MRPC", 3668), ("SST-2", 67349), ("STS-B", 5749)]
)
def test_no_row_of_the_real_files_is_lost(task, rows):
    path = GLUE / task / "train.tsv"
    if not path.exists():
        pytest.skip(f"no GLUE files at {GLUE}; $GLUE_DIR names another place")
    table = read_table(str(path), TASKS[task].columns)
    examples = read_examples(table, TASKS[task].targets)
    assert (len(examples), table.bad) == (rows, 0)
