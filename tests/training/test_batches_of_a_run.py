"""fairseq's own flags that decide which examples a run sees, and in which batches."""

import copy
import threading

import inprocess
import numpy as np
import pytest
import torch
import toy
from fairseq import tasks
from fairseq.data import data_utils
from recorded_train import batches_of
from refusals import FINE_TUNE
from slow_cases import slow
from toy import OFF, SIZE

from mixkd_plugin.tasks.mixkd_sentence_prediction import MixKDSentencePredictionTask

MIXUP = ["--tmkd-weight", 0]


@pytest.fixture
def seen(monkeypatch):
    """(split, ids, epoch) of every batch that a run validates on, in their order."""
    batches = []
    valid_step = MixKDSentencePredictionTask.valid_step

    def noted(task, sample, *args):
        batches.append((sample["split"], sample["id"].tolist(), sample["ntokens"]))
        return valid_step(task, sample, *args)

    monkeypatch.setattr(MixKDSentencePredictionTask, "valid_step", noted)
    return batches


def trained_on(data, folder, *flags):
    """{epoch: batches} of ids."""
    epochs = {}
    for epoch, batch in batches_of(toy.train_flags(data, folder, *flags)):
        epochs.setdefault(epoch, []).append(batch["id"].tolist())
    return epochs


# --- --max-valid-steps ---


def test_a_validation_that_is_cut_off_is_over_the_examples_of_fairseqs_own(
    tmp_path, classification, seen, monkeypatch
):
    flags = ["--max-valid-steps", 1, "--batch-size-valid", 8, "--max-epoch", 1]
    toy.fit(classification, tmp_path / "ours", *FINE_TUNE, *flags)
    stock = tasks.sentence_prediction.SentencePredictionTask
    theirs = []
    step = stock.valid_step

    def noted(task, sample, *args):
        theirs.append(sample["id"].tolist())
        return step(task, sample, *args)

    monkeypatch.setattr(stock, "valid_step", noted)
    toy.fit(classification, tmp_path / "theirs", *SIZE, *flags, task="sentence_prediction")
    assert [ids for _, ids, _ in seen] == theirs[-2:] and len(theirs) == 2


def test_a_whole_validation_is_by_length(tmp_path, classification, seen):
    flags = [*FINE_TUNE, "--batch-size-valid", 8, "--max-epoch", 1]
    toy.fit(classification, tmp_path, *flags)
    tokens = [n / len(ids) for _, ids, n in seen]
    assert tokens == sorted(tokens) and sum(len(ids) for _, ids, _ in seen) == 37


# --- validating on the training split ---


@pytest.mark.parametrize(
    "terms, by_length, subsets",
    [(MIXUP, "on", "train,valid"), *slow((FINE_TUNE, "off", "valid,train"))],
)
def test_validating_on_the_training_split_changes_nothing(
    tmp_path, classification, seen, terms, by_length, subsets
):
    flags = [*terms, "--batch-by-length", by_length, "--validate-interval-updates", 3]
    flags += ["--required-batch-size-multiple", 1, "--max-epoch", 2]
    without = trained_on(classification, tmp_path / "without", *flags)
    del seen[:]
    others = ["--valid-subset", subsets]
    assert trained_on(classification, tmp_path / "with", *flags, *others) == without
    assert [len(epoch) for epoch in without.values()] == [7, 7]
    validated = [i for split, ids, _ in seen if split == "train" for i in ids]
    assert len(validated) % 101 == 0 and set(validated) == set(range(101))


# --- --no-shuffle ---


@pytest.mark.parametrize("no_shuffle", [True, False])
def test_batches_by_length_are_fixed_without_shuffling(tmp_path, classification, no_shuffle):
    flags = [*MIXUP, "--max-epoch", 2, *(["--no-shuffle"] if no_shuffle else [])]
    epochs = trained_on(classification, tmp_path, *flags)
    kinds = {tuple(sorted(map(tuple, batches))) for batches in epochs.values()}
    assert len(epochs) == 2 and len(kinds) == (1 if no_shuffle else 2)


# --- random_crop ---


@pytest.fixture(scope="module")
def long_texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long") / "data"
    return toy.make_data(folder, {"train": 60, "valid": 20}, longest=40)


CROP = ["--shorten-method", "random_crop", "--max-positions", 9]


def cropped(data, *flags, task="mixkd_sentence_prediction"):
    config = inprocess.training_config(toy.train_flags(data, "unused", *CROP, *flags, task=task))
    return tasks.setup_task(config.task).load_dataset("train")


def tokens_of(dataset, positions):
    return [dataset[i]["net_input.src_tokens"].tolist() for i in positions]


@pytest.mark.parametrize("flags", [[], ["--no-shuffle"]])
def test_crops_are_fairseqs(long_texts, flags):
    ours = cropped(long_texts, *OFF, *flags)
    theirs = cropped(long_texts, *SIZE, *flags, task="sentence_prediction")
    epochs = []
    for epoch in (1, 2):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        epochs.append(tokens_of(ours, range(60)))
        assert epochs[-1] == tokens_of(theirs, range(60))
    assert epochs[0] != epochs[1]


def test_crops_in_threads_are_those_of_one(long_texts):
    """Two iterators over one split, in two epochs, while others draw from numpy's state."""
    dataset = cropped(long_texts, *OFF)
    expected = {}
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        expected[epoch] = tokens_of(dataset, range(60))
    wrong, done = [], threading.Event()

    def disturb():
        while not done.is_set():
            with data_utils.numpy_seed(7):
                np.random.permutation(10)

    def read(one, epoch):
        for _ in range(8):
            wrong.append(tokens_of(one, range(60)) != expected[epoch])

    threads = [threading.Thread(target=disturb)]
    for epoch in (1, 2):
        one = copy.copy(dataset)  # another view of the same split
        one.epoch = epoch
        threads.append(threading.Thread(target=read, args=(one, epoch)))
    state = np.random.get_state()[1].tolist()
    tokens_of(dataset, range(60))
    assert np.random.get_state()[1].tolist() == state  # and disturb nobody
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    done.set()
    threads[0].join()
    assert len(wrong) == 16 and not any(wrong)


# --- --weight-decay ---


def head_of(folder):
    model = inprocess.checkpoint(folder)["model"]
    return {name: w for name, w in model.items() if ".lm_head." in name and "dense" in name}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["legacy_ddp", "pytorch_ddp"])
def test_what_no_loss_uses_decays_on_no_number_of_processes(tmp_path, classification, backend):
    flags = [*FINE_TUNE, "--weight-decay", 0.5, "--max-update", 3]
    toy.fit(classification, tmp_path / "one", *flags)
    two = toy.train_flags(classification, tmp_path / "two", *flags)
    toy.processes(2, "fairseq_cli.train", two, backend=backend)
    one, two = head_of(tmp_path / "one"), head_of(tmp_path / "two")
    assert len(one) == 2
    torch.testing.assert_close(one, two, rtol=0, atol=0)
