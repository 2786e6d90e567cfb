"""Tokenizers of Hugging Face folders: encode and export cut every text as transformers does."""

import json

import hf_models
import pytest
from fairseq.data import Dictionary
from hf_models import OLD_SPELLINGS

from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.export.tokenizer import export_tokenizer, write_tokenizer
from mixkd_plugin.tools.import_hf import main
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

TEXTS = [
    "the <e1> soup </e1> was", "The<e1>soup</e1> cold", "new york city  new  york",
    "covid covids COVID Covid", "[SEP] soup [MASK]x </s></s>y<mask> z <mask>", "É é 日本語 <E1>",
    "Great food, <s> [CLS] <unk>[UNK] ok", "  lead [E1]trail  ", "x[E1] [E1]y <e1>.<e1>", "",
    "YO yo you ｙｏ Ｅ1 E1 e1 E1s", "xcovid covid, covid.covid ｃｏｖｉｄ",
]  # fmt: skip


def with_tokens(transformers, kind, folder, **added):
    """A model whose tokenizer was given tokens, saved as its users save it."""
    model = hf_models.make(kind, folder, transformers)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if "special" in added:
        tokenizer.add_special_tokens({"additional_special_tokens": added["special"]})
    tokenizer.add_tokens(added.get("plain", []))
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def check_cut(transformers, tmp_path, kind="bert"):
    """Under both spellings, and exported again."""
    source, out = tmp_path / "hf", tmp_path / "out"
    done = import_encoder(str(source), str(out), force=True)
    theirs = transformers.AutoTokenizer.from_pretrained(source)
    ours = build_tokenizer(done.tokenizer)
    old = build_tokenizer(f"{OLD_SPELLINGS.get(kind, 'wordpiece')}:{out}")
    dictionary = Dictionary.load(str(out / "dict.txt"))
    dictionary.add_symbol("<mask>")
    wanted = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    found = ours.encode_batch(TEXTS)
    assert found == [[ours.symbols[i] for i in row] for row in wanted] == old.encode_batch(TEXTS)
    plain = build_tokenizer(f"hf:{source}")  # without the import
    assert plain.symbols == ours.symbols and plain.encode_batch(TEXTS) == found
    assert plain.separators == ours.separators
    assert all(symbol in dictionary.indices for row in found for symbol in row)

    separator = "</s>" if ours.separators else None
    exported = export_tokenizer(done.tokenizer, ours, dictionary, "<s>", separator, types=1)
    served = tmp_path / "served"
    served.mkdir(exist_ok=True)
    write_tokenizer(exported, str(served), 80)
    (served / "config.json").write_text('{"model_type": "roberta"}')
    auto = transformers.AutoTokenizer.from_pretrained(served)
    for text, row in zip(TEXTS, found):
        indices = [0, *map(dictionary.index, row), 2]
        for cut in (exported.tokenizer.encode(text).ids, auto(text)["input_ids"]):
            assert [exported.rows[i] for i in cut] == indices, text
    return ours, dictionary


@pytest.mark.parametrize("kind", OLD_SPELLINGS)
def test_tokens_that_were_added(tmp_path, transformers, kind):
    special, plain = ["<e1>", "</e1>", "[E1]"], ["covid", "new york", "123", "escaped:x"]
    with_tokens(transformers, kind, tmp_path / "hf", special=special, plain=plain)
    ours, dictionary = check_cut(transformers, tmp_path, kind)
    assert {*special, *plain} <= {*ours.markers}
    assert ours.encode("a [E1] new york")[-1] == "escaped:new%20york"
    decoded = ours.decode(ours.encode("the [E1] soup"))
    assert ours.encode(decoded) == ours.encode("the [E1] soup")


@pytest.mark.parametrize("kind", OLD_SPELLINGS)
def test_tokens_that_are_found_in_some_places_only(tmp_path, transformers, kind):
    """The exported model's pieces must not find them in the others."""
    from tokenizers import AddedToken

    plain = [AddedToken("covid", single_word=True), AddedToken("yo", normalized=False)]
    with_tokens(transformers, kind, tmp_path / "hf", special=["E1"], plain=plain)
    ours, _ = check_cut(transformers, tmp_path, kind)
    assert "covid" in ours.encode("covid") and "covid" not in ours.encode("covids")


def test_added_tokens_that_become_the_same(tmp_path, transformers):
    with_tokens(transformers, "bert", tmp_path / "hf", plain=["Covid", "covid"])
    with pytest.raises(ValueError, match="must differ once normalised, got '[Cc]ovid' and"):
        import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))


DECLARED = {
    "tokenizer_config.json": {"additional_special_tokens": ["[unused1]"], "do_lower_case": True},
    "special_tokens_map.json": {"additional_special_tokens": ["[unused1]"]},
    "added_tokens.json": {"[unused1]": 5},
}


@pytest.mark.parametrize("file", DECLARED)
def test_tokens_that_the_older_files_declare(tmp_path, transformers, file):
    source = tmp_path / "hf"
    hf_models.make("bert", source, transformers)
    words = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words[5] = "[unused1]"
    (source / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    (source / file).write_text(json.dumps(DECLARED[file]))
    with pytest.raises(ValueError, match="unused1.*mixkd import"):  # not by guessing
        build_tokenizer(f"wordpiece:{source}")
    ours, _ = check_cut(transformers, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(source).tokenize("the [unused1] soup")
    assert ("[unused1]" in theirs) == ("[unused1]" in ours.encode("the [unused1] soup"))


def test_added_tokens_decoder(tmp_path, transformers):
    source = tmp_path / "hf"
    hf_models.make("bert", source, transformers)
    size = len((source / "vocab.txt").read_text(encoding="utf-8").splitlines())
    token = {"content": "[E1]", "special": True, "normalized": False}
    token.update(lstrip=False, rstrip=False, single_word=False)
    decoder = {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": {str(size): token}}
    hf_models.change(source / "tokenizer_config.json", **decoder)
    ours, _ = check_cut(transformers, tmp_path)
    assert "[E1]" in ours.encode("a[E1]b")


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("declared", ["TokenizersBackend", "PreTrainedTokenizerFast"])
def test_a_whole_tokenizer_json_decides_about_case(tmp_path, transformers, lower, declared):
    import tokenizers

    source = tmp_path / "hf"
    hf_models.make("bert", source, transformers)
    vocabulary = str(source / "vocab.txt")
    made = tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=lower, strip_accents=lower)
    made.save(str(source / "tokenizer.json"))
    hf_models.change(
        source / "tokenizer_config.json", tokenizer_class=declared
    )  # and no names of symbols
    ours, _ = check_cut(transformers, tmp_path)
    assert ("<unk>" in ours.encode("THE")) != lower


def test_byte_pairs_of_another_kind(tmp_path, transformers):
    """With </w>, as HerBERT's; vocab.json and merges.txt are no sign of RoBERTa's."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    source = tmp_path / "hf"
    source.mkdir()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    made.train_from_iterator(hf_models.CORPUS, trainer)
    made.model.save(str(source))
    config = transformers.BertConfig(
        **hf_models.SIZES, vocab_size=made.get_vocab_size(), pad_token_id=1
    )
    transformers.BertForSequenceClassification(config).save_pretrained(source)
    hf_models.change(source / "tokenizer_config.json", tokenizer_class="HerbertTokenizer")
    ours, _ = check_cut(transformers, tmp_path)
    assert "the</w>" in ours.encode("the soup")


def test_what_was_found_is_said(tmp_path, transformers, capsys):
    with_tokens(transformers, "bert", tmp_path / "hf", special=["[E1]"])
    main([str(tmp_path / "hf"), str(tmp_path / "out")])
    said = capsys.readouterr().out
    for part in (
        "BertForSequenceClassification", "2 classes, softmax: 0, 1", "tokenizer BertTokenizer",
        "lower-cased, accents taken off", "[CLS] is <s>", "[MASK] is <mask>", "'[E1]'", "equal",
    ):  # fmt: skip
        assert part in said
