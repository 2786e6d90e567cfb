"""Toy data and checkpoints that several tests share, made once a session."""

import logging
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import forked
import pytest
import quick_venv
import several_labels
import torch
import toy
from tiny_tokenizers import KINDS, write_tokenizer
from toy import EVERYTHING, FINE_TUNE, TEACHER
from two_vocabularies import add_second_text, make_case

from mixkd_plugin.teacher import build
from mixkd_plugin.teacher.ensemble import TeacherEnsemble


def pytest_sessionstart(session):
    """Commands of tests run in forks of this process, as it is before modules of tests are read."""
    if not session.config.getoption("numprocesses", None):  # which only starts others
        forked.start()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As the commands that tests run: sums in the same order, and no fight for cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def venv(tmp_path_factory):
    """An environment for scripts, whose commands start at once."""
    with quick_venv.served(tmp_path_factory.mktemp("venv")) as folder:
        yield folder


@pytest.fixture(scope="session")
def classification(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classification") / "data"
    return toy.make_data(folder, {"train": 101, "valid": 37})


@pytest.fixture
def data(tmp_path, classification):
    """A copy of it that a test may change."""
    return toy.copy_data(classification, tmp_path / "data")


@pytest.fixture(scope="session")
def regression(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression") / "data"
    return toy.make_data(folder, {"train": 101, "valid": 37}, targets=1)


@pytest.fixture(scope="session")
def multi_label(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multi_label") / "data"
    return several_labels.make_data(folder, {"train": 101, "valid": 37})


def _fine_tuned(folder, data, *extra):
    toy.fit(data, folder, *TEACHER, *extra, task="sentence_prediction")
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def teacher(tmp_path_factory, classification):
    """A checkpoint of fairseq's own task and model."""
    return _fine_tuned(tmp_path_factory.mktemp("teacher"), classification)


@pytest.fixture(scope="session")
def regression_teacher(tmp_path_factory, regression):
    folder = tmp_path_factory.mktemp("regression_teacher")
    return _fine_tuned(folder, regression, "--num-classes", 1, "--regression-target")


@pytest.fixture(scope="session")
def words(tmp_path_factory, classification):
    return make_case(tmp_path_factory.mktemp("words"), classification, TEACHER)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Regression on pairs: </s> </s> between the student's texts, </s> between the teacher's."""
    folder = tmp_path_factory.mktemp("pairs")
    data = add_second_text(toy.make_data(folder / "data", {"train": 61, "valid": 19}, targets=1))
    flags = ["--num-classes", 1, "--regression-target"]
    return make_case(folder, data, TEACHER, [*flags, "--separator-token", 2], flags)


class Distilled(NamedTuple):
    """A student trained by the real command line with every term on."""

    folder: Path
    log: str


@pytest.fixture(scope="session")
def distilled(tmp_path_factory, classification, teacher):
    """The teachers, one of them of our own task, and the checkpoint that the student began from
    are deleted after training."""
    folder = tmp_path_factory.mktemp("distilled")
    own, began_from = folder / "own_teacher", folder / "began_from.pt"
    toy.fit(classification, own, *FINE_TUNE)
    teachers = [shutil.copy(teacher, folder / "teacher.pt"), own / "checkpoint_last.pt"]
    shutil.copy(teacher, began_from)
    flags = [
        *EVERYTHING, "--teacher-path", ":".join(map(str, teachers)),
        "--student-init-path", began_from,
    ]  # fmt: skip
    log = toy.train(classification, folder / "student", *flags).stdout
    for path in (*teachers, began_from):
        Path(path).unlink()
    return Distilled(folder / "student", log)


@pytest.fixture
def asked(monkeypatch):
    """(clean, mixed) rows of every call to a teacher."""
    calls = []
    logits = TeacherEnsemble.logits

    def counted(self, tokens, mix=None, states=None):
        mixed = 0 if mix is None else len(mix.lam)
        calls.append((len(tokens) if mix is None or mix.with_clean else 0, mixed))
        return logits(self, tokens, mix, states)

    monkeypatch.setattr(TeacherEnsemble, "logits", counted)
    return calls


@pytest.fixture
def loads(monkeypatch):
    """A list that grows with every teacher that is loaded."""
    loaded = []
    load = build.load_teacher

    def noted(*args):
        loaded.append(args[0])
        return load(*args)

    monkeypatch.setattr(build, "load_teacher", noted)
    return loaded


@pytest.fixture
def own_logging():
    """hydra sets logging up anew, for good."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory):
    """The value of --tokenizer for each kind."""
    return {kind: write_tokenizer(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="session")
def wordpiece(tokenizers):
    """A value of --tokenizer."""
    return tokenizers["wordpiece"]


@pytest.fixture(scope="session")
def transformers():
    with pytest.MonkeyPatch.context() as patch:
        # fairseq asks for torchaudio, whose newest build need not fit torch; transformers tries it
        patch.setitem(sys.modules, "torchaudio", None)
        try:
            import transformers
        except Exception as error:  # an optional library, which may also be there but broken
            pytest.skip(f"transformers cannot be imported: {error}")
        yield transformers
