"""Toy data and checkpoints that several tests share, made once a session."""

import inprocess
import pytest
import torch
import toy

# A teacher by fairseq alone, deeper than the student (mixkd_tiny) and of the same width.
TEACHER = [
    "--arch", "roberta", "--encoder-layers", 3, "--encoder-embed-dim", 32,
    "--encoder-ffn-embed-dim", 64, "--encoder-attention-heads", 4,
]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As the commands that tests run: sums in the same order, and no fight for cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def classification(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classification") / "data"
    return toy.make_data(folder, {"train": 101, "valid": 37})


@pytest.fixture(scope="session")
def regression(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression") / "data"
    return toy.make_data(folder, {"train": 101, "valid": 37}, targets=1)


def _fine_tuned(folder, data, *extra):
    flags = toy.train_flags(data, folder, *TEACHER, *extra, task="sentence_prediction")
    inprocess.run_training(flags)
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def teacher(tmp_path_factory, classification):
    """A checkpoint of fairseq's own task and model."""
    return _fine_tuned(tmp_path_factory.mktemp("teacher"), classification)


@pytest.fixture(scope="session")
def regression_teacher(tmp_path_factory, regression):
    folder = tmp_path_factory.mktemp("regression_teacher")
    return _fine_tuned(folder, regression, "--num-classes", 1, "--regression-target")
