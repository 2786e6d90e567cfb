"""Nothing reaches the teacher, and a trained student does not need it."""

import io
import re

import inprocess
import pytest
import torch
import toy
from fairseq import checkpoint_utils
from fairseq.models.roberta import RobertaModel
from refusals import accepts
from taught import flat, with_settings
from toy import FINE_TUNE, HEAD

from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel

MIXED = ["--kd-weight", 1]


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory, classification):
    """The student's task and model without a teacher."""
    folder = tmp_path_factory.mktemp("fine_tuned")
    toy.fit(classification, folder, *FINE_TUNE, "--train-fraction", 0.5)
    return folder


def tensors(value):
    """Every tensor in nested containers."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors(v)] if isinstance(value, (list, tuple)) else []


def saved_size(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.tell()


# --- the student's checkpoint ---


def test_checkpoint_is_that_of_fine_tuning(distilled, fine_tuned):
    ours, plain = (inprocess.checkpoint(f) for f in (distilled.folder, fine_tuned))
    assert ours.keys() == plain.keys()
    assert ours["criterion"] is None
    for part in ("model", "last_optimizer_state"):
        assert saved_size(ours[part]) == saved_size(plain[part])
    shapes = [{k: (v.shape, v.dtype) for k, v in c["model"].items()} for c in (ours, plain)]
    assert shapes[0] == shapes[1]
    assert not [name for name in ours["model"] if "teacher" in name]
    rest = [ours[part] for part in ours if part not in ("model", "last_optimizer_state")]
    assert all(t.numel() <= 15 for t in tensors(rest))  # figures of the log; ECE's bins are 15
    sizes = [(f / "checkpoint_last.pt").stat().st_size for f in (distilled.folder, fine_tuned)]
    assert abs(sizes[0] - sizes[1]) < 10_000  # settings and figures; the teacher is 126 KB


def test_optimizer_state_is_of_the_students_parameters_only(distilled):
    state = inprocess.checkpoint(distilled.folder)
    student = sum(v.numel() for k, v in state["model"].items() if not k.endswith("version"))
    moments = [s["exp_avg"].numel() for s in state["last_optimizer_state"]["state"].values()]
    # the language-model head gets no gradient; its output is tied to the embedding
    unused = sum(v.numel() for k, v in state["model"].items() if k.startswith("encoder.lm_head."))
    assert 0 < student - unused <= sum(moments) <= student


# --- training does not touch it ---


def test_steps_leave_parameters_mode_and_dropout_alone(tmp_path, classification, teacher):
    flags = [*MIXED, "--teacher-path", teacher, "--dropout", 0.3, "--optimizer", "sgd", "--lr", 0.5]
    seen = {}

    def logits(task):
        return task.teacher.ensemble.logits(seen["tokens"])

    def watch(trainer, samples):
        task, criterion = trainer.task, trainer.get_criterion()
        models = task.teacher.ensemble._models
        if not seen:
            seen["tokens"] = samples[0]["net_input"]["src_tokens"]
            seen["before"] = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
            seen["logits"] = logits(task)
        trainer.model.train()
        criterion.train()
        teacher_modules = {id(m) for model in models for m in model.modules()}
        reachable = [*trainer.model.modules(), *criterion.modules()]
        assert not teacher_modules & {id(m) for m in reachable}
        optimised = {id(p) for g in trainer.optimizer.param_groups for p in g["params"]}
        for model, before in zip(models, seen["before"]):
            assert not any(m.training for m in model.modules())
            for name, parameter in model.named_parameters():
                assert not parameter.requires_grad and parameter.grad is None
                assert torch.equal(parameter, before[name])
                assert id(parameter) not in optimised
        assert torch.equal(logits(task), seen["logits"])
        seen["updates"] = trainer.get_num_updates()

    student = toy.fit(classification, tmp_path, *flags, watcher=watch)
    assert seen["updates"] >= 12 and "teacher_accuracy" in student


def test_teacher_of_our_own_task_gives_its_own_logits(tmp_path, classification, fine_tuned):
    path = fine_tuned / "checkpoint_last.pt"
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    model.eval()
    got = []

    def watch(trainer, samples):
        tokens = samples[0]["net_input"]["src_tokens"]
        expected, _ = model(tokens, classification_head_name=HEAD)
        got.append(torch.equal(trainer.task.teacher.ensemble.logits(tokens), expected))

    flags = [*MIXED, "--teacher-path", path, "--max-epoch", 1]
    toy.fit(classification, tmp_path, *flags, watcher=watch)
    assert len(got) > 5 and all(got)


# --- teachers that load ---


def starts(data, path, *extra):
    accepts(data, path.parent / "student", *MIXED, "--teacher-path", path, *extra)


def test_teacher_whose_data_folder_is_gone(tmp_path, classification, fine_tuned, teacher):
    for source in (fine_tuned / "checkpoint_last.pt", teacher):
        gone = {"data": str(tmp_path / "gone")}
        starts(classification, with_settings(tmp_path / "teacher.pt", source, "task", **gone))


def test_teacher_with_a_namespace_of_arguments(tmp_path, regression, regression_teacher):
    """Of a regression; tests of old layouts have others of before hydra."""
    with toy.edited(regression_teacher, tmp_path / "teacher.pt") as state:
        state["args"] = flat(state, arch="roberta")
        del state["cfg"]
    starts(regression, tmp_path / "teacher.pt", "--num-classes", 1, "--regression-target")


# --- the student outlives teacher and initial checkpoint, which `distilled` has deleted ---


def test_student_loads_and_serves_without_its_teacher(distilled, classification):
    path = distilled.folder / "checkpoint_last.pt"
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    assert task.teacher is None and not any("teacher" in n for n, _ in model.named_modules())
    served = MixKDRobertaModel.from_pretrained(
        str(distilled.folder), "checkpoint_last.pt", str(classification), bpe=None
    )
    tokens = torch.tensor([[0, 5, 9, 4, 2]])
    model.eval(), served.eval()
    logits, _ = model(tokens, classification_head_name=HEAD)
    predicted = served.predict(HEAD, tokens)
    torch.testing.assert_close(predicted, logits.log_softmax(-1))


def test_fairseqs_own_roberta_class_serves_it(distilled, classification):
    served = RobertaModel.from_pretrained(
        str(distilled.folder), "checkpoint_last.pt", str(classification), bpe=None
    )
    assert served.eval().predict(HEAD, torch.tensor([[0, 5, 2]])).shape == (1, 2)


def test_it_validates_by_the_real_command(distilled, classification):
    checkpoint = distilled.folder / "checkpoint_last.pt"
    flags = toy.validate_flags(classification, checkpoint, "--batch-size", 16)
    log = toy.run_module("fairseq_cli.validate", *flags).stdout
    values = toy.last_values(log, "valid")
    at_the_end = toy.last_values(distilled.log, "valid")
    assert values["loss"] == at_the_end["loss"] and values["loss"] > 0
    assert values["accuracy"] == at_the_end["accuracy"]
    assert "teacher_accuracy" in at_the_end and "teacher_accuracy" not in values


def test_no_student_initialisation_is_repeated_when_it_loads(distilled):
    assert re.search(r"student initialised from layers \[0, 1\]", distilled.log)
    state = inprocess.checkpoint(distilled.folder)
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(distilled.folder / "checkpoint_last.pt")]
    )
    torch.testing.assert_close(model.state_dict(), state["model"], rtol=0, atol=0)
