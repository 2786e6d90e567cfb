"""The batch of a process that has none of its own."""

import pytest
import torch
from fairseq.optim import build_optimizer
from made_by_calls import MIXUP, Made, config_of

from mixkd_plugin.tasks.steps import dummy_sample


@pytest.fixture
def one(classification):
    return Made(config_of(classification, *MIXUP))


@pytest.mark.parametrize("trains", [True, False])
def test_a_dummy_batch_is_known_by_its_mark(one, trains):
    """Also where fairseq computes one like any other, to look for a nan."""
    dummy = one.batches(trains).first_batch
    if not trains:
        dummy = {name: value for name, value in dummy.items() if name not in ("partner", "lam")}
    dummy["of_no_row"] = torch.tensor(1.0)  # a user's task may add it
    one.task.begin_epoch(1, one.model)
    optimizer = build_optimizer(one.config.optimizer, list(one.model.parameters()))
    _, sample_size, output = one.task.train_step(dummy, one.model, one.criterion, optimizer, 0)
    assert sample_size == 0 and output["nsentences"] == 0
    assert dummy["dummy"] and "dummy" not in next(one.batches(trains).next_epoch_itr())


def test_a_dummy_batch_has_two_examples_of_training_with_all_mixes(one):
    """Also after a validation: a user's term may need them, and its model two examples."""
    batches = one.batches(True)
    before, after = batches.first_batch, one.batches(trains=False).first_batch
    assert "partner" not in after and len(after["id"]) == 2
    batch = next(batches.next_epoch_itr(shuffle=False))
    first = [m for m in range(len(batch["lam"])) if m % len(batch["id"]) < 2]  # of the first two
    for dummy in (dummy_sample(sample, mixing=True) for sample in (before, after)):
        assert dummy["id"].tolist() == batch["id"].tolist()[:2]
        assert dummy["lam"].tolist() == batch["lam"][first].tolist() and len(first) == 4
        assert dummy["partner"]["id"].tolist() == batch["partner"]["id"][first].tolist()
