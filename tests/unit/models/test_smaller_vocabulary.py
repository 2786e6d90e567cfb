"""Initialising a student that has some of a checkpoint's symbols."""

import pytest
import torch
from fairseq.models.roberta import RobertaModel
from tiny_models import build, save

from mixkd_plugin.fingerprints import fingerprint
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.models.student_init import initialise_student


def with_words(model, names):
    """Give a model's symbols other names, in place."""
    dictionary = model.encoder.dictionary
    special = dictionary.symbols[: dictionary.nspecial]
    dictionary.symbols[:] = [*special, *names, "<mask>"][: len(dictionary)]
    dictionary.indices.clear()
    dictionary.indices.update({s: i for i, s in enumerate(dictionary.symbols)})
    return model


NAMES = [f"w{i}" for i in range(29)]  # and <mask>, as fairseq's tasks add it


def larger(tmp_path, names=NAMES, recorded=None):
    """A checkpoint with a dict.txt beside it."""
    source = with_words(build(RobertaModel, 0, encoder_layers=4), names)
    torch.nn.init.normal_(source.encoder.lm_head.bias)
    (tmp_path / "dict.txt").write_text("".join(f"{name} 1\n" for name in names))
    known = {} if recorded is None else {"fingerprint": {"vocabulary": recorded}}
    return source, save(source, tmp_path / "deep.pt", known)


@pytest.mark.parametrize("record", [False, True])
def test_a_smaller_vocabulary_gets_the_rows_of_its_symbols(tmp_path, record, caplog):
    names = ["w20", "w3", "w5", "w28"]
    source, path = larger(tmp_path)
    if record:
        known = fingerprint(source.encoder.dictionary, None)["vocabulary"]
        source, path = larger(tmp_path, recorded=known)
    student = with_words(build(MixKDRobertaModel, 1, encoder_layers=2, words=5), names)
    caplog.set_level("INFO")
    initialise_student(student, path, "spaced")
    rows = [source.encoder.dictionary.indices[s] for s in student.encoder.dictionary.symbols]
    assert rows[4:] == [4 + 20, 4 + 3, 4 + 5, 4 + 28, 4 + 29]
    theirs = source.state_dict()
    for name, value in student.state_dict().items():
        wanted = theirs[name.replace("layers.1.", "layers.2.")]
        by_symbol = "embed_tokens" in name or name in (
            "encoder.lm_head.weight",
            "encoder.lm_head.bias",
        )
        assert torch.equal(value, wanted[rows] if by_symbol else wanted), name
    assert "9 of its 34 symbols" in caplog.text
    assert student.encoder.lm_head.weight is student.encoder.sentence_encoder.embed_tokens.weight


def test_symbols_that_the_source_lacks_are_refused(tmp_path):
    _, path = larger(tmp_path)
    student = with_words(build(MixKDRobertaModel, 1, words=5), ["w1", "novel", "new", "w2"])
    with pytest.raises(ValueError, match="--student-init-path .*lacks 2 of 9, such as 'novel'"):
        initialise_student(student, path, "first")


def test_a_dictionary_of_another_model_is_not_used(tmp_path):
    """A digest is recorded, or its length differs."""
    student = with_words(build(MixKDRobertaModel, 1, words=5), NAMES[:4])
    _, path = larger(tmp_path, recorded="0" * 64)
    with pytest.raises(ValueError, match="--student-init-path .*its vocabulary"):
        initialise_student(student, path, "first")
    _, path = larger(tmp_path)
    (tmp_path / "dict.txt").write_text("".join(f"{name} 1\n" for name in NAMES[:20]))
    with pytest.raises(ValueError, match=r"is \(34, 32\), its dictionary has 25 symbols"):
        initialise_student(student, path, "first")


def test_a_narrower_student_may_have_a_smaller_vocabulary(tmp_path):
    names = ["w20", "w3", "w5", "w28"]
    source, path = larger(tmp_path)
    settings = {"encoder_layers": 2, "words": 5, "encoder_embed_dim": 24}
    student = with_words(build(MixKDRobertaModel, 1, **settings), names)
    initialise_student(student, path, "spaced")
    rows = [source.encoder.dictionary.indices[s] for s in student.encoder.dictionary.symbols]
    assert torch.equal(student.encoder.lm_head.bias, source.encoder.lm_head.bias[rows])
    wide = source.encoder.sentence_encoder.embed_tokens.weight[rows]
    narrow = student.encoder.sentence_encoder.embed_tokens.weight
    error = (narrow @ narrow.T - wide @ wide.T).norm() / (wide @ wide.T).norm()
    assert error < 0.2  # of all products of two symbols
