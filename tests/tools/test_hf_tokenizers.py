"""Tokenizers of Hugging Face folders: encode and export cut every text as transformers does."""

import json

import hf_models
import pytest
import torch
from fairseq.data import Dictionary, data_utils

from mixkd_plugin.tokenizers.library import symbol_of
from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.encode.encode import encode
from mixkd_plugin.tools.encode.sources import file_source
from mixkd_plugin.tools.export.tokenizer import export_tokenizer, write_tokenizer
from mixkd_plugin.tools.import_hf import main
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

TEXTS = [
    "the <e1> soup </e1> was", "The<e1>soup</e1> cold", "new york city  new  york",
    "covid covids COVID Covid", "[SEP] soup [MASK]x </s></s>y<mask> z <mask>", "É é 日本語 <E1>",
    "Great food, <s> [CLS] <unk>[UNK] ok", "  lead [E1]trail  ", "x[E1] [E1]y <e1>.<e1>", "",
    "YO yo you ｙｏ Ｅ1 E1 e1 E1s", "xcovid covid, covid.covid ｃｏｖｉｄ",
]  # fmt: skip
OLD_SPELLINGS = {"bert": "wordpiece", "roberta": "gpt2", "xlm-roberta": "sentencepiece"}


def change(path, **changes):
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **changes}))


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
    with pytest.raises(ValueError, match="unused1.*import_hf"):  # not by guessing
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
    change(source / "tokenizer_config.json", **decoder)
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
    change(source / "tokenizer_config.json", tokenizer_class=declared)  # and no names of symbols
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
    change(source / "tokenizer_config.json", tokenizer_class="HerbertTokenizer")
    ours, _ = check_cut(transformers, tmp_path)
    assert "the</w>" in ours.encode("the soup")


UNKNOWN = {
    "auto_map": {"tokenizer_class": "KoBert", "auto_map": {"AutoTokenizer": ["a.B", None]}},
    "got 'KoBertTokenizer'": {"tokenizer_class": "KoBertTokenizer"},
    "must be a fast tokenizer": {
        "tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic",
        "subword_tokenizer_type": "character",
    },
    "split_special_tokens": {"split_special_tokens": True},
}  # fmt: skip


@pytest.mark.parametrize("message", UNKNOWN)
def test_tokenizers_that_cannot_be_followed(tmp_path, transformers, message, capsys):
    hf_models.make("bert", tmp_path / "hf", transformers)
    change(tmp_path / "hf" / "tokenizer_config.json", **UNKNOWN[message])
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path / "hf"), str(tmp_path / "out")])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


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
    (tmp_path / "t.tsv").write_text("text\tlabel\nthe [MASK] soup\t0\nthe soup\t1\n")
    path = str(tmp_path / "t.tsv")
    source = file_source(path, [path], ["text"], ["label"])
    encode(source, done.tokenizer, str(tmp_path / "data"))
    dictionary = Dictionary.load(str(tmp_path / "data" / "input0" / "dict.txt"))
    mask = dictionary.add_symbol("<mask>")
    rows = data_utils.load_indexed_dataset(str(tmp_path / "data" / "input0" / "train"), dictionary)
    assert mask in rows[0] and dictionary.unk() not in rows[0]


def test_symbols_are_never_shared():
    tokens = [
        "a b",
        "a%20b",
        "escaped:a%20b",
        "<s>",
        "",
        "\u3000",
        "7",
        "Ġ",
        "a\rb",
        "#fairseq:overwrite",
    ]
    symbols = [symbol_of(token, {"Ġ": 7}) for token in tokens]
    assert len({*symbols}) == len(tokens)
    assert not any(symbol != "".join(symbol.split()) or not symbol for symbol in symbols)
    assert symbols[7] == "7" and symbol_of("7") == "7"


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_end_at_which_long_texts_are_cut(tmp_path, transformers, side, capsys):
    """As the folder declares it, in `encode` and in what a student is exported with."""
    source, out = tmp_path / "hf", tmp_path / "out"
    hf_models.make("roberta", source, transformers)
    change(source / "tokenizer_config.json", truncation_side=side)
    main([str(source), str(out)])
    assert ("loses its beginning" in capsys.readouterr().out) == (side == "left")
    texts = [TEXTS[:1], ["the soup was cold", "cold"], ["x", "the soup was cold"], ["", TEXTS[0]]]
    rows = [{"a": t[0], "b": t[-1], "label": i % 2} for i, t in enumerate(texts)]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = file_source(str(path), [str(path)], ["a", "b"], ["label"])
    encode(files, f"hf:{out}", str(tmp_path / "data"), max_tokens=9)
    dictionary = Dictionary.load(str(tmp_path / "data" / "input0" / "dict.txt"))
    dictionary.add_symbol("<mask>")
    data = [str(tmp_path / "data" / f"input{i}" / "train") for i in range(2)]
    first, second = (data_utils.load_indexed_dataset(d, dictionary) for d in data)
    ours = build_tokenizer(f"hf:{out}")
    theirs = transformers.AutoTokenizer.from_pretrained(source)
    exported = export_tokenizer(f"hf:{out}", ours, dictionary, "<s>", "</s>", types=1)
    (tmp_path / "served").mkdir()
    write_tokenizer(exported, str(tmp_path / "served"), 80)
    (tmp_path / "served" / "config.json").write_text('{"model_type": "roberta"}')
    served = transformers.AutoTokenizer.from_pretrained(tmp_path / "served")
    for row, a, b in zip(rows, first, second):
        found = [0, *a.tolist(), 2, *b.tolist()]
        pair = dict(text=[row["a"]], text_pair=[row["b"]], truncation=True, max_length=9)
        wanted = theirs(**pair)["input_ids"][0]
        assert [dictionary[i] for i in found] == [ours.symbols[i] for i in wanted]
        cut = served(**pair)["input_ids"][0]
        assert [exported.rows[i] for i in cut] == found


def test_a_dictionary_that_lacks_symbols_of_the_tokenizer_is_told(tmp_path, transformers, capsys):
    """A cased and an uncased one have most words in common, and few <unk> are no error."""
    hf_models.make("bert", tmp_path / "hf", transformers)
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))
    (tmp_path / "t.tsv").write_text("text\tlabel\nthe soup was cold\t0\nthe the the was\t1\n")
    path = str(tmp_path / "t.tsv")
    lines = (tmp_path / "out" / "dict.txt").read_text().splitlines(keepends=True)
    for kept in (lines, [line for line in lines if line != "soup 1\n"]):
        (tmp_path / "dict.txt").write_text("".join(kept))
        encode(
            file_source(path, [path], ["text"], ["label"]), f"hf:{tmp_path / 'out'}",
            str(tmp_path / f"data{len(kept)}"), dictionary=str(tmp_path / "dict.txt"),
        )  # fmt: skip
        said = capsys.readouterr().out
        assert ("lacks 1 of the tokenizer's" in said) == ("'soup': they become" in said)
        assert ("WARNING" in said) == (kept != lines)


def test_what_was_found_is_said(tmp_path, transformers, capsys):
    with_tokens(transformers, "bert", tmp_path / "hf", special=["[E1]"])
    main([str(tmp_path / "hf"), str(tmp_path / "out")])
    said = capsys.readouterr().out
    for part in (
        "BertForSequenceClassification", "2 classes, softmax: 0, 1", "tokenizer BertTokenizer",
        "lower-cased, accents taken off", "[CLS] is <s>", "[MASK] is <mask>", "'[E1]'", "equal",
    ):  # fmt: skip
        assert part in said


def test_a_difference_is_a_refusal(tmp_path, transformers, monkeypatch):
    from mixkd_plugin.tools.import_hf import import_hf

    hf_models.make("bert", tmp_path / "hf", transformers)
    real = import_hf.convert
    name = "encoder.sentence_encoder.layers.1.fc1.bias"

    def wrong(*arguments):
        state = real(*arguments)
        return {**state, name: state[name] + 0.01 * torch.ones_like(state[name])}

    monkeypatch.setattr(import_hf, "convert", wrong)
    with pytest.raises(ValueError, match="the model is not supported"):
        import_encoder(str(tmp_path / "hf"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
