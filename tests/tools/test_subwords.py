"""Subwords: pieces give their text back, and that text the same pieces."""

import pytest
from tiny_tokenizers import KINDS, TEXT, write_tokenizer

from mixkd_plugin.tokenizers.subwords import build_tokenizer

ACCENTS = str.maketrans("ïü", "iu")


@pytest.fixture(scope="module", params=KINDS)
def kind_and_tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, build_tokenizer(write_tokenizer(request.param, folder))


def test_decoded_text_is_the_text(kind_and_tokenizer):
    kind, tokenizer = kind_and_tokenizer
    for text in TEXT:
        pieces = tokenizer.encode(text)
        found = tokenizer.decode(pieces)
        assert tokenizer.encode(found) == pieces, "the decoded text is another text"
        if kind == "wordpiece":  # where blanks stood beside punctuation is not in the pieces
            found, text = found.replace(" ", ""), text.lower().translate(ACCENTS).replace(" ", "")
        assert found == text


def test_words_are_split_and_joined_again(kind_and_tokenizer):
    _, tokenizer = kind_and_tokenizer
    pieces = tokenizer.encode("the sold cup does")  # no word of the training text but the first
    assert len(pieces) > 4
    assert tokenizer.decode(pieces) == "the sold cup does"
    assert tokenizer.decode([]) == ""


def test_a_folder_of_transformers_that_says_nothing_about_case_is_lower_cased(tmp_path):
    spec = write_tokenizer("wordpiece", tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"lowercase": true', '"lowercase": false'))
    path.write_text(path.read_text().replace('"lowercase":true', '"lowercase":false'))
    assert build_tokenizer(spec).encode("The SOUP") != build_tokenizer(spec).encode("the soup")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert build_tokenizer(spec).encode("The SOUP") == build_tokenizer(spec).encode("the soup")


def test_wordpiece_reads_as_text(tmp_path):
    tokenizer = build_tokenizer(write_tokenizer("wordpiece", tmp_path))
    said = tokenizer.decode(tokenizer.encode("I do not know the soup, they said."))
    assert said == "i do not know the soup, they said."
