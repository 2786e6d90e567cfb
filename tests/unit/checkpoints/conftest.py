import pytest


@pytest.fixture(scope="session")
def words(classification):
    """fairseq's task on the toy data."""
    from mixkd_plugin.checkpoints.configured import sentence_task

    section = {"_name": "sentence_prediction"}
    return sentence_task(section, str(classification), "sentence_classification_head", 2, False)
