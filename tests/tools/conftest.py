"""What several tests of tools share; none of them writes into these folders.

This file may be read before the server of ``forked`` starts, and so imports no tool itself.
"""

import pytest


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    """Trained on pairs of at most 60 tokens."""
    from exported import Trained

    return Trained(tmp_path_factory.mktemp("student"), "wordpiece")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tokenizer's folder."""
    from encode_files import write_model

    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def trained(monkeypatch):
    """The folders of the `fairseq-train` of `distil`, which this process runs itself."""
    from distilled import train_here

    return train_here(monkeypatch)


@pytest.fixture
def faked(tmp_path, monkeypatch, classification):
    from faked_study import fake

    return fake(tmp_path / "work", classification, monkeypatch)
