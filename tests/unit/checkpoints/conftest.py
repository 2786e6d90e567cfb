import functools

import pytest
import torch


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request):
    return functools.partial(torch.save, _use_new_zipfile_serialization=request.param)


@pytest.fixture(scope="session")
def words(classification):
    """fairseq's task on the toy data."""
    from mixkd_plugin.checkpoints.configured import sentence_task

    section = {"_name": "sentence_prediction"}
    return sentence_task(section, str(classification), "sentence_classification_head", 2, False)
