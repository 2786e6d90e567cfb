"""What one process computes, several compute too, and they exchange what fine-tuning exchanges."""

import json

import forked
import inprocess
import pytest
import toy
from fairseq import tasks
from ranks import as_one_and_as_two, flags_of
from same_end import assert_same_weights
from slow_cases import slow
from toy import SIZE

from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel


@pytest.fixture(scope="module")
def one(tmp_path_factory, classification, teacher):
    """The folder of a run of one process."""
    folder = tmp_path_factory.mktemp("one")
    inprocess.run_training(flags_of(classification, folder, teacher, 1))
    return folder


@pytest.mark.parametrize(
    "world_size, backend, extra",
    [
        (2, "pytorch_ddp", []),
        *slow(
            (4, "legacy_ddp", []),
            (4, "pytorch_ddp", []),
            (2, "pytorch_ddp", ["--find-unused-parameters"]),
            (2, "pytorch_ddp", ["--zero-sharding", "os"]),
            (2, "fully_sharded", []),
            (4, "fully_sharded", ["--padding-free", "off"]),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_parameters_of_one_process(
    tmp_path, classification, teacher, one, world_size, backend, extra
):
    if backend == "fully_sharded" or "--zero-sharding" in extra:
        pytest.importorskip("fairscale")
    flags = flags_of(classification, tmp_path, teacher, world_size, *extra)
    module = "fully_sharded_train" if backend == "fully_sharded" else "fairseq_cli.train"
    logs = toy.processes(world_size, module, flags, backend=backend)
    assert inprocess.updates(tmp_path) == 20
    assert_same_weights(one, tmp_path, atol=1e-6)
    # one rank read the teacher, the others have it all the same
    assert sum("parameters, torch.float32" in log for log in logs) == 1
    assert toy.last_values(logs[0], "valid")["agreement"] > 50


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend, extra",
    [
        ("pytorch_ddp", ["--zero-sharding", "os"]),
        ("pytorch_ddp", ["--zero-sharding", "os", "--optimizer", "torch_adamw"]),
        ("fully_sharded", []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_sharded_run_goes_on(tmp_path, classification, teacher, backend, extra):
    pytest.importorskip("fairscale")
    module = "fully_sharded_train" if backend == "fully_sharded" else "fairseq_cli.train"
    for name, stops in (("straight", [2]), ("parts", [1, 2])):
        for epochs in stops:
            flags = flags_of(classification, tmp_path / name, teacher, 2, *extra)
            toy.processes(2, module, [*flags, "--max-epoch", epochs], backend=backend)
    assert inprocess.updates(tmp_path / "parts") == inprocess.updates(tmp_path / "straight")
    if backend != "fully_sharded":  # whose optimizer's state on a CPU is not that of a GPU
        assert_same_weights(tmp_path / "straight", tmp_path / "parts", atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["--hidden-weight", 1]], ids=["", "hidden states"])
def test_a_batch_of_its_own_and_a_dummy_one_in_one_update(tmp_path, classification, teacher, extra):
    """15 batches an epoch, so that the second process has 1 of 2 in the last update."""
    logs = as_one_and_as_two(classification, tmp_path, teacher, "--batch-size", 7, *extra)
    logged = [toy.last_values(log, "train") for log in logs]
    for name in logged[0].keys() - {"wps", "ups", "wall", "train_wall"}:
        assert logged[1][name] == pytest.approx(logged[0][name], abs=0.002), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "data, flags",
    [
        ("classification", ["--report-mcc", "--report-acc-and-f1"]),
        ("regression",
         ["--num-classes", 1, "--regression-target", "--report-pearson-and-spearman"]),
    ],
)  # fmt: skip
def test_several_processes_validate_as_one(tmp_path, request, data, flags):
    """37 examples in so many batches: the second process has a batch less, and both have more to
    tell each other than fairseq's 16 KB."""
    data = request.getfixturevalue(data)
    toy.fit(data, tmp_path, "--tmkd-weight", 0, *flags)
    validate = toy.validate_flags(data, tmp_path / "checkpoint_last.pt", "--batch-size", 1)
    one = toy.last_values(inprocess.validate(*validate), "valid")
    logs = toy.processes(2, "fairseq_cli.validate", validate)
    del one["wps"]
    assert len(one) >= 5
    for log in logs:
        several = toy.last_values(log, "valid")
        assert {name: several[name] for name in one} == one


def exchanged(folder, name, data, *flags, backend, task="mixkd_sentence_prediction"):
    """[[collective, elements], ...] of each update of each of two processes."""
    flags = toy.train_flags(data, folder / name, "--max-update", 4, *flags, task=task)
    records = [folder / f"{name}{rank}" for rank in range(2)]
    toy.processes(2, "counted_train", *([path, *flags] for path in records), backend=backend)
    found = [[json.loads(line) for line in path.read_text().splitlines()] for path in records]
    assert found[0] == found[1] and len(found[0]) == 4
    return found[0]


def kinds(update):
    return [kind for kind, _ in update]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["legacy_ddp", "pytorch_ddp"])
def test_an_update_exchanges_what_fine_tuning_exchanges(tmp_path, classification, teacher, backend):
    """The gradients and two small sums of logged values, whatever the loss is made of."""
    unused = ["--find-unused-parameters"] if backend == "pytorch_ddp" else []
    mixkd = ["--kd-weight", 1, "--mixup-ratio", 2, "--teacher-path", teacher]
    ours = exchanged(tmp_path, "ours", classification, *mixkd, *unused, backend=backend)
    theirs = exchanged(
        tmp_path, "theirs", classification, *SIZE, *unused, backend=backend,
        task="sentence_prediction",
    )  # fmt: skip
    for our_update, their_update in zip(ours, theirs):
        assert kinds(our_update) == kinds(their_update)
        assert set(kinds(our_update)) == {"gloo:all_reduce"}
        ours_largest, theirs_largest = (max(n for _, n in u) for u in (our_update, their_update))
        # the language-model head's gradients are not sent where torch can be told so
        assert 0 <= theirs_largest - ours_largest < 1200
        assert sum(n for _, n in our_update) - ours_largest < 64


@pytest.mark.slow
def test_no_map_of_unused_parameters_is_exchanged(tmp_path, classification, teacher):
    mixkd = ["--kd-weight", 1, "--teacher-path", teacher]
    updates = exchanged(tmp_path, "ours", classification, *mixkd, backend="pytorch_ddp")
    assert kinds(updates[0]) == kinds(updates[-1]) == ["gloo:all_reduce"] * 3


def test_a_rank_loads_a_student_while_the_other_does_not(tmp_path, classification, teacher):
    inprocess.run_training(flags_of(classification, tmp_path, teacher, 1, "--max-update", 1))
    port = toy.free_port()
    commands = [("alone_load", rank, port, tmp_path, classification) for rank in range(2)]
    for code, log in forked.run(*commands, seconds=60):
        assert code == 0, log


def test_only_the_task_leaves_the_language_model_head_out(classification):
    """Another task may train it, and then it must be averaged."""
    name = "_ddp_params_and_buffers_to_ignore"
    config = inprocess.training_config(toy.train_flags(classification, "unused"))
    task = tasks.setup_task(config.task)
    ours = task.build_model(config.model)
    parameters = dict(ours.named_parameters(remove_duplicate=False))
    left_out = {id(parameters[n]) for n in getattr(ours, name)}
    head = {id(p) for n, p in parameters.items() if n.startswith("encoder.lm_head.")}
    assert head - left_out == {id(ours.encoder.sentence_encoder.embed_tokens.weight)}
    assert not hasattr(MixKDRobertaModel.build_model(config.model, task), name)


@pytest.mark.slow
def test_a_narrower_student_is_that_of_one_process(tmp_path, classification, teacher):
    """legacy_ddp broadcasts no weights itself."""
    narrower = ["--student-init-path", teacher, "--encoder-embed-dim", 16]
    as_one_and_as_two(classification, tmp_path, teacher, *narrower)
