"""--trim-vocabulary: a tokenizer of fewer pieces, which cuts the given texts as the full one."""

import json
import random
from pathlib import Path
from typing import NamedTuple

import inprocess
import numpy as np
import pytest
import tokenizers as library
import torch
import toy
from fairseq.data import Dictionary
from hf_families import write_family
from tiny_models import dictionary_with
from tiny_tokenizers import TEXT

from mixkd_plugin.tokenizers.library import ROLES, with_layout
from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tokenizers.trim import trim_vocabulary, write_trimmed
from mixkd_plugin.tools.encode import encode as command
from mixkd_plugin.tools.encode.sources import Source
from mixkd_plugin.tools.export.export import export, load
from mixkd_plugin.tools.export.texts import fairseq_row
from mixkd_plugin.tools.texts.reading import Columns

WORDS = [
    "soup", "charming", "journey", "affecting", "cold", "unaffordable", "question", "naïve",
    "日本語", "Gemüse", "schmeckt", "travel", "travelling", "unfair", "fairness",
    "cooler", "coldest",
]  # fmt: skip


def sentences(count, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(2, 6))) for _ in range(count)]


ALL, GIVEN = sentences(60, 0), ["A cold soup", "[SEP] travelling </s>😀 naïve", "", "日本語"]
FAMILIES = ("bert", "roberta", "modernbert", "xlm-roberta", "camembert", "albert", "deberta-v2")


def assert_cut_as_before(full, small, texts):
    assert small.encode_batch(list(texts)) == full.encode_batch(list(texts))


@pytest.fixture(scope="module", params=FAMILIES)
def full(request, tmp_path_factory, transformers):
    folder = tmp_path_factory.mktemp(request.param)
    write_family(request.param, folder, transformers, ALL)
    return build_tokenizer(f"hf:{folder}")


def test_given_texts_are_cut_as_before_and_others_are_never_lost(full):
    small, dictionary = trim_vocabulary(full, full.words, GIVEN)
    assert_cut_as_before(full, small, GIVEN)
    assert len(dictionary) < 0.9 * len(full.words)
    assert {*small.symbols.values()} < {*full.symbols.values()}
    assert {*small.symbols} == {*range(len(small.symbols))}  # dense
    assert {*dictionary.symbols} | {"<mask>"} == {*small.symbols.values()}
    assert (small.separators, small.markers) == (full.separators, full.markers)
    other = 0
    for text, before, now in zip(ALL, full.encode_batch(ALL), small.encode_batch(ALL)):
        other += before != now
        assert before.count("<unk>") == now.count("<unk>"), text
        assert full.decode(before) == small.decode(now), text
    assert other > 20


def test_the_folder_is_a_tokenizer_of_its_own(full, tmp_path, transformers):
    small, dictionary = trim_vocabulary(full, full.words, GIVEN)
    write_trimmed(small, dictionary, str(tmp_path / "small"), 77)
    again = build_tokenizer(f"hf:{tmp_path / 'small'}")
    assert again.symbols == small.symbols and again.separators == full.separators
    assert_cut_as_before(small, again, ALL)
    words = Dictionary.load(str(tmp_path / "small" / "dict.txt"))
    assert words.symbols == dictionary.symbols
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")
    assert auto.model_max_length == 77
    found, wanted = auto(*GIVEN[:2])["input_ids"], full.library.encode(*GIVEN[:2])
    assert [again.symbols[i] for i in found] == [full.symbols[i] for i in wanted.ids]
    assert small.library.encode(*GIVEN[:2]).type_ids == wanted.type_ids


SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def with_ends(tokenizer):
    tokenizer.add_special_tokens([name for name in SPECIAL])
    ends = ((name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>"))
    tokenizer.post_processor = library.processors.BertProcessing(*ends)
    return with_layout(tokenizer, dict(zip(ROLES, SPECIAL)), None)


@pytest.mark.parametrize("suffix, fallback", [("", False), ("</w>", False), ("", True)])
@pytest.mark.parametrize("seed", range(3))
def test_merges_of_random_words(suffix, fallback, seed):
    """Of three letters, so that the same merge is possible in many places of a word."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("aab", k=rng.randint(1, 12))) for _ in range(400)]
    ends = {"end_of_word_suffix": suffix} if suffix else {}
    made = library.Tokenizer(library.models.BPE(unk_token="<unk>", byte_fallback=fallback, **ends))
    made.pre_tokenizer = library.pre_tokenizers.Whitespace()
    bytes_ = [f"<0x{i:02X}>" for i in range(256)] if fallback else []
    trainer = library.trainers.BpeTrainer(
        vocab_size=400, show_progress=False, special_tokens=[*SPECIAL, *bytes_], **ends
    )
    made.train_from_iterator(words, trainer)
    full = with_ends(made)
    small, _ = trim_vocabulary(full, dictionary_with(full.symbols.values()), words[:15])
    assert len(small.symbols) < len(full.symbols) - 20
    assert_cut_as_before(full, small, words[:15])
    assert small.encode_batch(words) != full.encode_batch(words)


def test_a_word_in_which_wordpiece_got_stuck_stays_unknown(tmp_path):
    """abcd is [abc + nothing] at first; without abc it would be ab ##cd."""
    words = ["a", "##b", "b", "##a", "c", "##c", "d", "ab", "abc", "##cd", "abcb"]
    vocabulary = {name: i for i, name in enumerate([*SPECIAL, *words])}
    made = library.Tokenizer(library.models.WordPiece(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    full, symbols = with_ends(made), dictionary_with(words)
    texts = ["ab acd", "a abcd b"]
    assert full.encode_batch(texts) == [["ab", "a", "##cd"], ["a", "<unk>", "b"]]
    small, dictionary = trim_vocabulary(full, symbols, texts)
    assert_cut_as_before(full, small, texts)
    assert "abc" in dictionary.indices and "abcb" not in dictionary.indices
    assert "abc" not in trim_vocabulary(full, symbols, texts[:1])[1].indices


def test_the_score_of_unknown_characters_stays():
    """It is 10 below the lowest of all pieces: without zz, x would be one, and ay cost less."""
    scores = {"xa": -13.0, "y": -13.0, "ay": -2.5, "zz": -20.0, "qq": -14.0}
    pieces = [*((name, 0.0) for name in SPECIAL), *scores.items()]
    full = with_ends(library.Tokenizer(library.models.Unigram(pieces, 3)))
    assert full.encode("xay") == ["xa", "y"]
    small, dictionary = trim_vocabulary(full, dictionary_with(scores), ["xay"])
    assert dictionary.symbols[4:] == ["xa", "y", "zz"]
    assert_cut_as_before(full, small, ["xay"])


def test_models_that_cannot_be_trimmed(tokenizers):
    words = Dictionary()
    with pytest.raises(ValueError, match="--trim-vocabulary .*mixkd import"):
        trim_vocabulary(build_tokenizer(tokenizers["sentencepiece"]), words, TEXT)
    vocabulary = {name: i for i, name in enumerate(SPECIAL)}
    model = library.models.WordLevel(vocabulary, "<unk>")
    with pytest.raises(ValueError, match="--trim-vocabulary .* got WordLevel"):
        trim_vocabulary(with_ends(library.Tokenizer(model)), words, TEXT)
    model = library.models.BPE(vocabulary, [], continuing_subword_prefix="##", unk_token="<unk>")
    with pytest.raises(ValueError, match="--trim-vocabulary .* got BPE with a prefix"):
        trim_vocabulary(with_ends(library.Tokenizer(model)), words, TEXT)


# --- encode, and a student's run ---


def write_texts(folder, count=48):
    """Training pairs of given texts, validation pairs of any."""
    files = {}
    for split, texts in (("train", [*GIVEN, *ALL[:8]]), ("valid", ALL)):
        rows = [
            {"a": texts[i % len(texts)], "b": texts[(3 * i + 1) % len(texts)], "label": i % 2}
            for i in range(count)
        ]
        files[split] = folder / f"{split}.jsonl"
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(file) for split, file in files.items()}
    return Source(files, Columns(("a", "b"), ("label",)), None)


@pytest.mark.parametrize("kind", ["wordpiece", "gpt2"])
def test_encode_with_its_own_tokenizer_again(tmp_path, tokenizers, kind, capsys):
    """The folder in the data folder gives the same data; training texts are as in full."""
    source = write_texts(tmp_path)
    for name, spec, trim in (
        ("full", tokenizers[kind], False),
        ("small", tokenizers[kind], True),
        ("again", f"hf:{tmp_path / 'small' / 'tokenizer'}", False),
    ):
        command.encode(source, spec, str(tmp_path / name), max_unknown=1, trim=trim)
    said = capsys.readouterr().out
    assert "train.jsonl): 0 of 96 texts have other pieces" in said
    assert "vocabulary: " in said
    for column in ("input0", "input1"):
        for file in ("dict.txt", "train.bin", "valid.bin"):
            small, again = (tmp_path / n / column / file for n in ("small", "again"))
            assert small.read_bytes() == again.read_bytes()
    for file in ("texts.json", "train_flags.txt"):
        contents = {(tmp_path / n / file).read_text() for n in ("full", "small", "again")}
        assert len(contents) == 1
    words = [
        Dictionary.load(str(tmp_path / name / "input0" / "dict.txt")) for name in ("full", "small")
    ]
    assert len(words[1]) < len(words[0])
    rows = [np.fromfile(tmp_path / n / "input0" / "train.bin", "u2") for n in ("full", "small")]
    assert [words[0][i] for i in rows[0]] == [words[1][i] for i in rows[1]]


class Case(NamedTuple):
    folder: Path
    full: str  # of the teacher, as the files are given to encode
    teacher: Path
    flags: list  # that the data asks for

    def student(self, name, *extra):
        flags = [
            "--teacher-path", self.teacher, "--kd-weight", 1, "--student-init-path", self.teacher,
            "--student-init-layers", "first", "--max-epoch", 1, *self.flags, *extra,
        ]  # fmt: skip
        return toy.train_flags(self.folder / "small", self.folder / name, *flags)


@pytest.fixture(scope="module")
def case(tmp_path_factory, tokenizers):
    """A teacher of the full vocabulary, and data in both."""
    folder = tmp_path_factory.mktemp("case")
    source, spec = write_texts(folder), tokenizers["wordpiece"]
    for name, trim in (("full", False), ("small", True)):
        flags = command.encode(source, spec, str(folder / name), max_unknown=1, trim=trim).split()
    teacher = [*flags, "--encoder-layers", 3, "--sm-weight", 0, "--tmkd-weight", 0, "--lr", 0.02]
    toy.fit(folder / "full", folder / "teacher", *teacher)
    return Case(folder, spec, folder / "teacher" / "checkpoint_last.pt", flags)


def test_a_teacher_of_the_full_vocabulary_needs_its_own_data(case, tmp_path):
    """Also where its logits are in the cache."""
    cache = ["--teacher-cache", tmp_path / "cache"]
    full = ["--teacher-data", case.folder / "full", *cache]
    with inprocess.captured_log() as log, pytest.raises(inprocess.ReachedFirstUpdateError):
        inprocess.start_training(case.student("a", *full))
    assert "embeddings of" in log.text and list((tmp_path / "cache").iterdir())
    for wrong in (cache, ["--teacher-data", case.folder / "small", *cache]):
        with pytest.raises(ValueError, match="--teacher-path .*vocabulary has .*--teacher-data"):
            inprocess.start_training(case.student("b", *wrong))


@pytest.mark.slow
def test_a_student_is_exported_with_its_own_tokenizer(case, tmp_path, transformers):
    inprocess.run_training(case.student("student", "--teacher-data", case.folder / "full"))
    checkpoint, spec = case.folder / "student" / "checkpoint_last.pt", case.folder / "small"
    spec = f"hf:{spec / 'tokenizer'}"
    assert export(str(checkpoint), str(tmp_path / "hf"), "hf", spec).difference < 1e-5
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    teacher = torch.load(case.teacher, weights_only=False)["model"]
    words = "encoder.sentence_encoder.embed_tokens.weight"
    assert len(model.get_input_embeddings().weight) < len(teacher[words])
    loaded, ours = load(str(checkpoint), None), build_tokenizer(spec)
    for pair in zip(TEXT, reversed(ALL)):
        row = fairseq_row(pair, ours, loaded.task)[None]
        wanted = loaded.logits({"net_input": {"src_tokens": row}})
        with torch.no_grad():
            found = model(**auto(*pair, return_tensors="pt")).logits
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
