"""Texts as tokenizers of Hugging Face folders cut them: symbols, long ones, unknown pieces."""

import hf_models
import pytest
import torch
from encode_files import encode_table, rows_of
from fairseq.data import Dictionary, data_utils
from hf_models import OLD_SPELLINGS
from refusals import import_refused

from mixkd_plugin.tokenizers.library import symbol_of
from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.export.tokenizer import export_tokenizer, write_tokenizer
from mixkd_plugin.tools.import_hf import main
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

LONG = "the <e1> soup </e1> was"


@pytest.mark.parametrize("kind", OLD_SPELLINGS)
def test_special_symbols_in_a_text(tmp_path, transformers, kind):
    """Of an import, and of a folder that fairseq or its user made."""
    hf_models.make(kind, tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))
    plain = tmp_path / "plain"
    plain.mkdir()
    hf_models.WRITERS[OLD_SPELLINGS[kind]](plain)
    end, mask, pad = ("[SEP]", "[MASK]", "[PAD]") if kind == "bert" else ("</s>", "<mask>", "<pad>")
    for spec in (f"hf:{tmp_path / 'out'}", f"{OLD_SPELLINGS[kind]}:{plain}"):
        tokenizer = build_tokenizer(spec)
        pieces = tokenizer.encode(f"the{end}{end}soup {mask}")
        assert [p for p in pieces if p in ("</s>", "<mask>")] == ["</s>", "</s>", "<mask>"]
        with pytest.raises(ValueError, match="spells the padding symbol"):
            tokenizer.encode_batch(["the", f"soup {pad}"])


def test_a_mask_in_a_text_is_encoded(tmp_path, transformers):
    """fairseq's task adds <mask> to the dictionary only when it reads the data."""
    hf_models.make("bert", tmp_path / "hf", transformers)
    done = import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))
    rows = [("the [MASK] soup", 0), ("the soup", 1)]
    encode_table(tmp_path / "t.tsv", rows, done.tokenizer, tmp_path / "data", ["text"])
    dictionary = Dictionary.load(str(tmp_path / "data" / "input0" / "dict.txt"))
    mask = dictionary.add_symbol("<mask>")
    rows = data_utils.load_indexed_dataset(str(tmp_path / "data" / "input0" / "train"), dictionary)
    assert mask in rows[0] and dictionary.unk() not in rows[0]


def test_symbols_are_never_shared():
    tokens = [
        "a b", "a%20b", "escaped:a%20b", "<s>", "", "\u3000", "7", "Ġ", "a\rb",
        "#fairseq:overwrite",
    ]  # fmt: skip
    symbols = [symbol_of(token, {"Ġ": 7}) for token in tokens]
    assert len({*symbols}) == len(tokens)
    assert not any(symbol != "".join(symbol.split()) or not symbol for symbol in symbols)
    assert symbols[7] == "7" and symbol_of("7") == "7"


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_end_at_which_long_texts_are_cut(tmp_path, transformers, side, capsys):
    """As the folder declares it, in `encode` and in what a student is exported with."""
    source, out = tmp_path / "hf", tmp_path / "out"
    hf_models.make("roberta", source, transformers)
    hf_models.change(source / "tokenizer_config.json", truncation_side=side)
    main([str(source), str(out)])
    assert ("loses its beginning" in capsys.readouterr().out) == (side == "left")
    texts = [[LONG], ["the soup was cold", "cold"], ["x", "the soup was cold"], ["", LONG]]
    rows = [(t[0], t[-1], i % 2) for i, t in enumerate(texts)]
    flags = encode_table(tmp_path / "t.jsonl", rows, f"hf:{out}", tmp_path / "data", max_tokens=9)
    dictionary = Dictionary.load(str(tmp_path / "data" / "input0" / "dict.txt"))
    dictionary.add_symbol("<mask>")
    ours = build_tokenizer(f"hf:{out}")
    theirs = transformers.AutoTokenizer.from_pretrained(source)
    exported = export_tokenizer(f"hf:{out}", ours, dictionary, "<s>", "</s>", types=1)
    (tmp_path / "served").mkdir()
    write_tokenizer(exported, str(tmp_path / "served"), 80)
    (tmp_path / "served" / "config.json").write_text('{"model_type": "roberta"}')
    served = transformers.AutoTokenizer.from_pretrained(tmp_path / "served")
    for row, found in zip(rows, rows_of(tmp_path / "data", flags), strict=True):
        pair = dict(text=[row[0]], text_pair=[row[1]], truncation=True, max_length=9)
        assert found == [ours.symbols[i] for i in theirs(**pair)["input_ids"][0]]
        cut = served(**pair)["input_ids"][0]
        assert found == [dictionary[exported.rows[i]] for i in cut]


def test_a_dictionary_that_lacks_symbols_of_the_tokenizer_is_told(tmp_path, transformers, capsys):
    """A cased and an uncased one have most words in common, and few <unk> are no error."""
    hf_models.make("bert", tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))
    rows = [("the soup was cold", 0), ("the the the was", 1)]
    lines = (tmp_path / "out" / "dict.txt").read_text().splitlines(keepends=True)
    for kept in (lines, [line for line in lines if line != "soup 1\n"]):
        (tmp_path / "dict.txt").write_text("".join(kept))
        encode_table(
            tmp_path / "t.tsv", rows, f"hf:{tmp_path / 'out'}", tmp_path / f"data{len(kept)}",
            ["text"], dictionary=str(tmp_path / "dict.txt"),
        )  # fmt: skip
        said = capsys.readouterr().out
        assert ("lacks 1 of the tokenizer's" in said) == ("'soup': they become" in said)
        assert ("WARNING" in said) == (kept != lines)


def test_a_difference_is_a_refusal(tmp_path, transformers, monkeypatch):
    from mixkd_plugin.tools.import_hf import import_hf

    hf_models.make("bert", tmp_path / "hf", transformers)
    real = import_hf.convert
    name = "encoder.sentence_encoder.layers.1.fc1.bias"

    def wrong(*arguments):
        state = real(*arguments)
        return {**state, name: state[name] + 0.01 * torch.ones_like(state[name])}

    monkeypatch.setattr(import_hf, "convert", wrong)
    import_refused(tmp_path, "the model is not supported")
