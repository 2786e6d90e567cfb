"""The hydra recipes: every flag, the command line's parameters, sweeps."""

import argparse
import dataclasses

import hydra_recipes
import inprocess
import pytest
import toy
import yaml
from hydra_recipes import FOLDER, PAPER, RECIPES, SMALL, composed, overrides
from omegaconf import OmegaConf
from same_end import assert_same, assert_same_weights
from toy import EVERYTHING

from mixkd_plugin.criterions.mixkd import MixKDCriterionConfig
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.tasks.mixkd_sentence_prediction import MixKDSentencePredictionConfig
from mixkd_plugin.tools.distil.recipes import RECIPES as RECIPES_OF_DISTIL


def dataclass_flags(config) -> dict:
    """Names and defaults of what a configuration does not take from another one's."""
    defaults = {f.name: f.default for f in dataclasses.fields(config) if f.name != "_name"}
    return {name: d for name, d in defaults.items() if not str(d).startswith("${")}


def model_flags() -> dict:
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False)
    MixKDRobertaModel.add_args(parser)  # suppressed: the architecture's own
    flags = {a.dest: None if a.default is argparse.SUPPRESS else a.default for a in parser._actions}
    return {**flags, "max_positions": "${task.max_positions}"}  # as one flag is both, there


FLAGS = {
    "task/mixkd_sentence_prediction": dataclass_flags(MixKDSentencePredictionConfig),
    "criterion/mixkd": dataclass_flags(MixKDCriterionConfig),
    "model/mixkd": model_flags(),
}


@pytest.mark.parametrize("group", FLAGS)
def test_the_yaml_has_every_flag_with_its_default(group):
    written = yaml.safe_load((FOLDER / f"{group}.yaml").read_text(encoding="utf-8"))
    written.pop("_name")
    assert written == FLAGS[group]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_flag_can_be_set_from_the_command_line(recipe):
    names = [f"{group.split('/')[0]}.{flag}" for group, flags in FLAGS.items() for flag in flags]
    config = composed(recipe, *(f"{name}=given" for name in names))
    assert [OmegaConf.select(config, name) for name in names] == ["given"] * len(names)
    assert config.optimizer._name == "adam" and config.lr_scheduler._name == "polynomial_decay"
    assert config.checkpoint.no_epoch_checkpoints  # of run.yaml: not undone by fairseq's defaults


def test_the_student_has_the_recipe_of_distil():
    config = composed("distil_minilm", "task.data=D", "task.teacher_path=T")
    words = RECIPES_OF_DISTIL["splice"].flags
    flags = {words[i][2:].replace("-", "_"): words[i + 1] for i in range(0, len(words), 2)}
    found = {**config.task, **config.criterion}
    assert {flag: str(found[flag]) for flag in flags} == {
        flag: value if flag == "mixup_kind" else str(float(value)) for flag, value in flags.items()
    }


def test_a_misspelt_flag_is_refused():
    with pytest.raises(Exception, match="task.mixup_alfa"):
        composed("distil_minilm", "task.mixup_alfa=1")


@pytest.mark.usefixtures("own_logging")
def test_a_recipe_gives_the_parameters_of_the_command_line(tmp_path, classification, teacher):
    flags = [*EVERYTHING, "--teacher-path", f"{teacher}:{teacher}", "--student-init-path", teacher]
    flags += ["--lr-scheduler", "polynomial_decay", "--warmup-updates", 2]
    flags += ["--max-update", 6, "--total-num-update", 6, "--required-batch-size-multiple", 1]
    flags += ["--adam-betas", "(0.9, 0.98)", "--weight-decay", 0.01, "--clip-norm", 1]
    toy.fit(classification, tmp_path / "cli", *flags)
    given = {
        "hydra.run.dir": tmp_path / "hydra",
        "task.data": classification,
        "task.teacher_path": f"'{teacher}:{teacher}'",
        "model.student_init_path": teacher,
        "optimization.lr": [0.002],
        "optimization.max_update": 6,
    }
    at = range(0, len(EVERYTHING), 2)
    for flag, value in ((EVERYTHING[i][2:].replace("-", "_"), EVERYTHING[i + 1]) for i in at):
        (section,) = {group.split("/")[0] for group, names in FLAGS.items() if flag in names}
        given[f"{section}.{flag}"] = f"'{value}'" if flag == "teacher_weights" else value
    hydra_recipes.train("distil_minilm", *overrides({**SMALL, **PAPER, **given}))
    cli, hydra = (inprocess.checkpoint(tmp_path / name) for name in ("cli", "hydra"))
    assert_same(hydra["model"], cli["model"])
    assert_same(hydra["last_optimizer_state"], cli["last_optimizer_state"])


@pytest.fixture
def sweep(classification, teacher, own_logging):
    """Run ``sweep(folder, values)``, or run it again; the folders of its jobs, in order."""

    def run(folder, values):
        given = {
            **SMALL,
            "hydra.sweep.dir": folder,
            "task.data": classification,
            "task.teacher_path": teacher,
            "optimization.max_update": 4,
            **values,
        }
        hydra_recipes.train("distil_minilm", "--multirun", *overrides(given))
        return sorted(path.parent for path in folder.rglob("checkpoint_last.pt"))

    return run


@pytest.mark.slow
def test_a_sweep_has_a_folder_and_the_configuration_of_each_job(tmp_path, sweep):
    values = {"criterion.kd_weight": "0,1", "common.seed": "1", "task.train_fraction": "0.3,1"}
    folders = sweep(tmp_path, values)
    jobs, sums = set(), set()
    for folder in folders:
        stored = OmegaConf.load(folder / ".hydra" / "config.yaml")
        stored.checkpoint.save_dir = str(folder)  # by hydra's own name for it, in the file
        stored.model = {k: v for k, v in stored.model.items() if v is not None}
        state = inprocess.checkpoint(folder)
        assert not _differences(OmegaConf.to_container(stored, resolve=True), state["cfg"])
        job = (stored.criterion.kd_weight, stored.common.seed, stored.task.train_fraction)
        assert f"common.seed-{job[1]}__criterion.kd_weight-{job[0]:g}__" in folder.name
        jobs.add(job)
        sums.add(sum(v.double().sum().item() for v in state["model"].values()))
    assert jobs == {(k, s, f) for k in (0, 1) for s in (1,) for f in (0.3, 1)}
    assert len(sums) == len(folders) == 4  # no two students are the same


@pytest.mark.slow
def test_a_sweep_that_was_interrupted_goes_on_where_it_stopped(tmp_path, sweep):
    values = {"common.seed": "1,2", "checkpoint.save_interval_updates": 1}
    values["task.train_fraction"] = 1
    made = []

    def interrupt_in_the_second_job(trainer, batches):
        made.append(trainer.get_num_updates())
        if made == [0, 1, 2, 3, 0, 1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), inprocess.watched_updates(interrupt_in_the_second_job):
        sweep(tmp_path / "interrupted", values)
    with inprocess.watched_updates(lambda trainer, _: made.append(trainer.get_num_updates())):
        resumed = sweep(tmp_path / "interrupted", values)
    assert made[7:] == [2, 3]  # none of the one that had ended
    for one, other in zip(resumed, sweep(tmp_path / "whole", values)):
        assert_same_weights(one, other)


def _differences(stored: dict, trained: dict, path: str = "") -> list:
    """What ``stored`` says otherwise than ``trained``, which may say more."""
    wrong = []
    for key, value in stored.items():
        if isinstance(value, dict):
            wrong += _differences(value, trained[key], f"{path}{key}.")
        elif value != trained[key]:
            wrong.append((path + key, value, trained[key]))
    return wrong
