"""`encode --tokenizer hf:FOLDER` cuts and lays out texts as transformers does, in any family."""

import hf_models
import pytest
from encode_files import encode_table, rows_of
from hf_families import FAMILIES, write_family

from mixkd_plugin.tokenizers.subwords import build_tokenizer

LONG = "unaffordable" * 40
ODD = [
    "A charming, often affecting journey!", "the soup 😀👩\u200d👩\u200d👧 was 🇫🇷 cold",
    "e\u0301 A\u030a ﬁne naïve", LONG, "שלום עולם the مرحبا بالعالم soup", "", "   ",
    "a\u0001b\u0007 c\u200bd\u00ade\ufefff", "日本語も少し。", "  two  blanks,\tand   more ",
    "[SEP]the [MASK] soup</s> <mask>[CLS]<s> [UNK]<unk>", "ＦＵＬＬ ｗｉｄｔｈ", "x",
    "the the the the the the the the the the the the the", "<|endoftext|> ▁ ## Ġ |||EMAIL|||",
]  # fmt: skip
PAIRS = list(zip(ODD, ODD[5:] + ODD[:5]))
TRAIN = [" ".join(pair) for pair in PAIRS if LONG not in pair]
CLASSIFIERS = [name for name in FAMILIES if name != "t5"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


def family(name, folders, transformers):
    """The folder of a family's tokenizer, and transformers' reading of it."""
    folder = folders / name
    if not folder.exists():
        write_family(name, folder, transformers, TRAIN)
    return folder, transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_encoded_pairs_are_transformers(tmp_path, folders, transformers, name):
    folder, theirs = family(name, folders, transformers)
    rows = [(*pair, i % 2) for i, pair in enumerate(PAIRS)]
    flags = encode_table(tmp_path / "t.jsonl", rows, f"hf:{folder}", tmp_path / "data",
                         max_tokens=40, max_unknown=1)  # fmt: skip
    symbols = build_tokenizer(f"hf:{folder}").symbols
    for pair, found in zip(PAIRS, rows_of(tmp_path / "data", flags), strict=True):
        wanted = theirs(*([text] for text in pair), truncation=True, max_length=40)["input_ids"][0]
        assert found == [symbols[i] for i in wanted], pair


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_symbols_name_every_token_once(folders, transformers, name):
    folder, theirs = family(name, folders, transformers)
    ours = build_tokenizer(f"hf:{folder}")
    assert sorted(ours.symbols) == sorted({*theirs.get_vocab().values()})
    assert {*ours.symbols.values()} - {*ours.words.symbols} == {"<mask>"}
    for symbol, role in zip(("<s>", "<pad>", "</s>", "<mask>"), ("cls", "pad", "sep", "mask")):
        assert ours.symbols[getattr(theirs, f"{role}_token_id")] == symbol


REFUSED = {
    "must have the layout": ("t5", {}),
    "auto_map": ("bert", {"auto_map": {"AutoTokenizer": ["code.Own", None]}}),
    "tokenizer_class must be in transformers": ("bert", {"tokenizer_class": "OwnTokenizer"}),
    "must be a fast tokenizer": (
        "bert",
        {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic",
         "subword_tokenizer_type": "character"},
    ),
    "pad_token must be a token": ("modernbert", {"pad_token": None}),
    "split_special_tokens must be false": ("bert", {"split_special_tokens": True}),
    "sep_token must be a token of its own": ("modernbert", {"pad_token": "[SEP]"}),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_tokenizers_that_are_refused(tmp_path, transformers, message):
    name, settings = REFUSED[message]
    write_family(name, tmp_path / "hf", transformers, TRAIN)
    if name == "modernbert":  # its tokenizer.json has another name than BERT's
        library = tmp_path / "hf" / "tokenizer.json"
        library.write_text(library.read_text().replace("[PAD]", "[PADDING]"))
    hf_models.change(tmp_path / "hf" / "tokenizer_config.json", **settings)
    if "Japanese" in str(settings):
        (tmp_path / "hf" / "vocab.txt").write_text("[UNK]\n")
    with pytest.raises(ValueError) as error:
        build_tokenizer(f"hf:{tmp_path / 'hf'}")
    assert message in str(error.value) and f"--tokenizer hf:{tmp_path / 'hf'}" in str(error.value)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path, transformers):
    with pytest.raises(ValueError, match="DIR must be a folder, got nowhere"):
        build_tokenizer("hf:nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "electra"}')
    with pytest.raises(ValueError, match="must have tokenizer.json"):
        build_tokenizer(f"hf:{tmp_path}")
