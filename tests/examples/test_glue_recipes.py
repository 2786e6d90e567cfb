"""Recipes written for fairseq's own task and criterion, with the changes that examples/hydra lists.

The keys are those of fairseq's GLUE recipes; sizes are of toy data.
"""

import inprocess
import pytest
import yaml
from hydra_recipes import overrides, train
from same_end import assert_same
from toy import PLUGIN

pytestmark = pytest.mark.usefixtures("own_logging")

RECIPE = {
    "common": {
        "fp16": True, "fp16_init_scale": 4, "threshold_loss_scale": 1, "fp16_scale_window": 128,
        "log_format": "json", "log_interval": 200,
    },
    "task": {
        "_name": "sentence_prediction", "data": "???", "init_token": 0, "separator_token": 2,
        "num_classes": 2, "max_positions": 512,
    },
    "checkpoint": {
        "restore_file": "???", "reset_optimizer": True, "reset_dataloader": True,
        "reset_meters": True, "no_epoch_checkpoints": True, "best_checkpoint_metric": "accuracy",
        "maximize_best_checkpoint_metric": True,
    },
    "distributed_training": {"find_unused_parameters": True, "distributed_world_size": 1},
    "criterion": {"_name": "sentence_prediction"},
    "dataset": {"batch_size": 16, "required_batch_size_multiple": 1, "max_tokens": 4400},
    "optimizer": {
        "_name": "adam", "weight_decay": 0.1, "adam_betas": "(0.9,0.98)", "adam_eps": 1e-06,
    },
    "lr_scheduler": {"_name": "polynomial_decay", "warmup_updates": 2},
    "optimization": {"clip_norm": 0.0, "lr": [2e-03], "max_update": 4, "max_epoch": 10},
    "model": {"_name": "roberta", "dropout": 0.1, "attention_dropout": 0.1},
}  # fmt: skip

CHANGES = {
    "common.user_dir": PLUGIN, "common.cpu": "true", "common.fp16": "false",
    "task._name": "mixkd_sentence_prediction", "task.max_positions": 64,
    "criterion._name": "mixkd", "model._name": "mixkd_tiny",
    "dataset.num_workers": 0, "dataset.max_tokens": 8800,
    "checkpoint.restore_file": "checkpoint_last.pt", "checkpoint.reset_optimizer": "false",
    "checkpoint.reset_dataloader": "false", "checkpoint.reset_meters": "false",
}  # fmt: skip
FINE_TUNE = {"+criterion.sm_weight": 0, "+criterion.tmkd_weight": 0}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # else hydra prints an error and exits

    def run(folder, changes, **sections):
        conf = tmp_path / "conf"
        conf.mkdir(exist_ok=True)
        recipe = {name: {**values, **sections.get(name, {})} for name, values in RECIPE.items()}
        (conf / "glue.yaml").write_text("# @package _group_\n\n" + yaml.safe_dump(recipe))
        out = {"hydra.run.dir": tmp_path / folder, "checkpoint.save_dir": tmp_path / folder}
        train("glue", *overrides({**CHANGES, **out, **changes}), folder=conf)
        return inprocess.checkpoint(tmp_path / folder)

    return run


@pytest.mark.slow
def test_a_recipe_with_the_listed_changes_distils_and_goes_on(run, classification, teacher):
    given = {
        "task.data": classification,
        "+task.teacher_path": teacher,
        "+model.student_init_path": teacher,
        "+criterion.kd_weight": 1,
    }
    run("distilled", {**given, "optimization.max_update": 2, "optimization.max_epoch": 1})
    state = run("distilled", given)
    assert state["optimizer_history"][-1]["num_updates"] == 4
    assert state["cfg"]["criterion"]["kd_weight"] == 1


def test_what_a_recipe_sets_for_the_criterion_the_task_takes(run, regression):
    changes = {"task.data": regression, **FINE_TUNE}
    criterion = {"regression_target": True, "classification_head_name": "scores"}
    by_loss = {"best_checkpoint_metric": "loss", "maximize_best_checkpoint_metric": False}
    sections = {"task": {"num_classes": 1}, "checkpoint": by_loss}
    given = run("criterion", changes, criterion=criterion, **sections)
    assert "classification_heads.scores.out_proj.weight" in given["model"]
    own = {f"+task.{name}": str(value).lower() for name, value in criterion.items()}
    told = run("task", {**changes, **own}, **sections)
    assert_same(given["model"], told["model"])
    for state in (given, told):
        assert state["cfg"]["task"]["regression_target"] is True


def test_two_different_values_are_refused(run, classification):
    name = "classification_head_name"
    changes = {"task.data": classification, **FINE_TUNE, f"+task.{name}": "a"}
    with pytest.raises(ValueError, match=f"criterion.{name} must .* a, got b"):
        run("refused", changes, criterion={name: "b"})
