"""encode: how much of the texts the dictionary does not know is printed, and too much refused."""

import pytest
from encode_files import FEW, decoded, encode, flags_of, refused, write
from tiny_tokenizers import KINDS

SCRIPTS = {"Greek": "καλημέρα κόσμε", "Chinese": "今日天气很好", "Thai": "สวัสดีชาวโลก"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_the_dictionary_of_another_tokenizer(tmp_path, tokenizers, kind, other):
    path = write(tmp_path / "t.csv", ["text", "label"], FEW)
    flags = flags_of(path, path, tokenizers[kind], tmp_path / "d")
    words = tokenizers[other].partition(":")[2]
    words = words if other != "sentencepiece" else words.rpartition("/")[0]
    flags += ["--dict", f"{words}/dict.txt"]
    if kind == other:
        encode(*flags)
        return
    said = refused(*flags)
    assert "are <unk>" in said and f"{words}/dict.txt" in said and "--max-unknown 0.25" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]
    encode(*flags, "--max-unknown", 1)
    assert (tmp_path / "d" / "train_flags.txt").exists()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_another_script(tmp_path, tokenizers, kind, script):
    """In one column of validation alone, too."""
    train = write(tmp_path / "t.csv", ["one", "two", "label"], [("a b", "c", "x"), ("c", "a", "y")])
    rows = [("a b", SCRIPTS[script], "x")]
    valid = write(tmp_path / "v.csv", ["one", "two", "label"], rows)
    flags = flags_of(train, valid, tokenizers[kind], tmp_path / "d", "one,two")
    said = refused(*flags)
    assert f"valid ({valid}): " in said and "are <unk>" in said
    assert not (tmp_path / "d").exists()


def test_shares_are_printed_and_bounded(tmp_path, tokenizers, capsys):
    rows = [("a b c a b c a b c", "x"), ("Ж", "y"), ("", "y")]
    path = write(tmp_path / "t.csv", ["text", "label"], rows)
    flags = flags_of(path, path, tokenizers["wordpiece"], tmp_path / "d")
    encode(*flags)
    said = capsys.readouterr().out
    assert "<unk> is 10.00% of text; 1 examples have only <unk>" in said
    assert decoded(tmp_path / "d") == [("a b c a b c a b c", 0), ("<unk>", 1), ("", 1)]
    assert "--max-unknown 0.09" in refused(*flags[:-1], tmp_path / "e", "--max-unknown", 0.09)
    for bound in (-0.1, 1.5, "nan"):
        assert "--max-unknown" in refused(*flags[:-1], tmp_path / "e", "--max-unknown", bound)


def test_most_examples_are_nothing_but_unknown(tmp_path, tokenizers):
    """Each of them is a single token, so that few of the tokens are unknown."""
    rows = [("a b c " * 20, "x"), ("Ж", "y"), ("Ж", "y")]
    path = write(tmp_path / "t.csv", ["text", "label"], rows)
    flags = flags_of(path, path, tokenizers["wordpiece"], tmp_path / "d")
    said = refused(*flags)
    assert "3% of the subwords" in said and "67% of the examples" in said
    assert "If so, --max-unknown 0.67 in place of --max-unknown 0.25 allows it" in said
    encode(*flags, "--max-unknown", 0.67)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_spells_the_padding_symbol_is_named_by_its_line(tmp_path, tokenizers, kind):
    pad = "[PAD]" if kind == "wordpiece" else "<pad>"
    rows = [("a\nb", "x")] * 1200 + [("c " * 50 + pad, "y")]
    path = write(tmp_path / "t.csv", ["text", "label"], rows)
    said = refused(*flags_of(path, path, tokenizers[kind], tmp_path / "d"))
    assert f"train ({path}), line 2402: the text " in said and f"c {pad}' spells" in said
