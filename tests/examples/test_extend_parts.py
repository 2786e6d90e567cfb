"""Tasks, criteria, models and architectures of one's own, by the real command lines."""

import math
import shutil
import sys
import textwrap
from argparse import Namespace

import hydra_recipes
import inprocess
import numpy as np
import pytest
import toy
from fairseq import checkpoint_utils
from fairseq.data import BaseWrapperDataset, FairseqDataset
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.utils import import_user_module
from omegaconf import OmegaConf
from same_end import assert_same_weights
from slow_cases import slow
from toy import ROOT

from mixkd_plugin.models.mixkd_roberta import SIZES, drop_nulls
from mixkd_plugin.tasks.beginning import check_architecture
from mixkd_plugin.tasks.mixkd_sentence_prediction import MixKDSentencePredictionTask

MINE = ROOT / "examples" / "extend" / "my_mixkd"
BALANCED = ["--task", "my_task", "--criterion", "my_criterion", "--balanced-weight", 0.5]


@pytest.fixture(scope="module", autouse=True)
def theirs():
    """Their package in this process, as --user-dir imports it."""
    import_user_module(Namespace(user_dir=str(MINE)))


def flags(data, folder, *extra):
    return toy.train_flags(data, folder, "--user-dir", MINE, *extra)


def validated(data, folder, **task):
    """What `fairseq-validate` says, in a process that knows no other user directory."""
    flags = ["--batch-size", 16]
    flags = toy.validate_flags(data, folder / "checkpoint_last.pt", *flags, user_dir=MINE, **task)
    return toy.run_module("fairseq_cli.validate", *flags).stdout


# --- an architecture ---


def size(folder):
    return {name: tuple(v.shape) for name, v in inprocess.checkpoint(folder)["model"].items()}


@pytest.mark.slow
@pytest.mark.usefixtures("own_logging")
def test_a_recipe_gives_the_parameters_of_the_command_line(tmp_path, classification, teacher):
    """Of their architecture, distance and pairing rule."""
    schedule = ["--lr-scheduler", "polynomial_decay", "--warmup-updates", 2, "--clip-norm", 1]
    schedule += ["--total-num-update", 4, "--max-update", 4, "--weight-decay", 0.01]
    schedule += ["--adam-betas", "(0.9, 0.98)", "--distill-distance", "cosine", "--kd-weight", 1]
    schedule += ["--mixup-pairing", "other-label", "--mixup-ratio", 2, "--teacher-path", teacher]
    inprocess.run_training(
        flags(classification, tmp_path / "cli", "--arch", "my_roberta", *schedule)
    )
    given = hydra_recipes.overrides({
        **hydra_recipes.SMALL,
        **hydra_recipes.PAPER,
        "common.user_dir": MINE,
        "hydra.run.dir": tmp_path / "hydra",
        "task.data": classification,
        "task.teacher_path": teacher,
        "task.mixup_pairing": "other-label",
        "task.mixup_ratio": 2,
        "task.train_fraction": 1,
        "model._name": "my_roberta",
        "model.student_init_path": "null",
        "model.student_init_layers": "first",
        "criterion.distill_distance": "cosine",
        "criterion.kd_weight": 1,
        "optimization.lr": [0.002],
        "optimization.max_update": 4,
    })  # fmt: skip
    hydra_recipes.train("distil_minilm", *given)
    assert size(tmp_path / "cli")["encoder.sentence_encoder.layers.2.fc1.weight"] == (96, 48)
    assert_same_weights(tmp_path / "cli", tmp_path / "hydra")
    # and it is found again without a flag, by a process that knows their package
    validated(classification, tmp_path / "hydra")


@pytest.mark.parametrize("architecture", ["my_roberta", *slow(*SIZES)])
def test_hydras_nulls_leave_the_size_to_the_architecture(architecture):
    values = [f"model._name={architecture}", "model.max_positions=64"]
    composed = hydra_recipes.composed("distil_minilm", "task.teacher_path=T", *values).model
    composed.student_init_path = None
    cfg = OmegaConf.create(OmegaConf.to_container(composed))  # as fairseq-hydra-train makes it
    drop_nulls(cfg)
    ARCH_CONFIG_REGISTRY[architecture](cfg)
    names = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
    expected = {**SIZES, "my_roberta": (3, 48, 96, 4)}[architecture]
    assert tuple(cfg[f"encoder_{name}"] for name in names) == expected


def test_settings_of_an_encoder_that_is_not_chosen_are_refused():
    """A recipe's _name counts more than that of model=my_cnn, and RoBERTa ignores them."""
    settings = {"_name": "mixkd_tiny", "dropout": 0.1, "no_scale_embedding": True}
    check_architecture(OmegaConf.create(settings))
    settings = OmegaConf.create({**settings, "cnn_embed_dim": 16})
    with pytest.raises(ValueError, match="model._name must be my_cnn .*cnn_embed_dim.*mixkd_tiny"):
        check_architecture(settings)
    check_architecture(Namespace(**settings))  # all flags of a command line
    for recipe in hydra_recipes.RECIPES:
        check_architecture(hydra_recipes.composed(recipe, "task.teacher_path=T").model)


@pytest.mark.slow
def test_a_recipe_trains_their_encoder(tmp_path, classification, teacher):
    recipes = shutil.copytree(hydra_recipes.FOLDER, tmp_path / "hydra")
    encoder = "_name: my_cnn\ncnn_embed_dim: 16\ncnn_channels: 8\ncnn_dropout: 0.1\n"
    (recipes / "model" / "my_cnn.yaml").write_text(encoder)
    given = {
        **hydra_recipes.SMALL, "common.user_dir": MINE, "hydra.run.dir": tmp_path / "run",
        "task.data": classification, "task.teacher_path": teacher, "optimization.max_update": 2,
        "model._name": "my_cnn",
    }  # fmt: skip
    more = ["~model.student_init_path", "~model.student_init_layers", "model=my_cnn"]
    more += ["--config-dir", recipes, "--config-name", "distil_minilm"]
    # a process that does not know their package when hydra composes
    toy.run_module("fairseq_cli.hydra_train", *hydra_recipes.overrides(given), *more)
    assert size(tmp_path / "run")["filters.0.weight"] == (8, 16, 1)


# --- a task and a criterion ---


def test_their_task_and_criterion_train_and_their_student_validates(
    tmp_path, classification, teacher
):
    out = tmp_path / "student"
    more = ["--kd-weight", 1, "--teacher-path", teacher, "--max-epoch", 1]
    log = inprocess.run_training(flags(classification, out, *BALANCED, *more))
    logged = toy.last_values(log, "train")
    total = sum(logged[f"{term}_loss"] for term in ("mle", "kd", "sm", "tmkd", "balanced"))
    assert logged["loss"] == pytest.approx(total, abs=4e-3)
    assert logged["balanced_loss"] > 0.1
    alone = validated(classification, out, task="my_task")
    trained = toy.last_values(log, "valid")
    assert toy.last_values(alone, "valid")["accuracy"] == trained["accuracy"]


def test_the_term_is_what_it_says(tmp_path, classification):
    def watcher(trainer, batches):
        batch = batches[0]
        rows = range(len(batch["id"]))
        labels = np.array((classification / "raw" / "train.label").read_text().split(), dtype=int)
        share = np.bincount(labels) / len(labels)
        weights = [0.5 / share[labels[batch["id"][i]]] for i in rows]
        assert batch["weight"].tolist() == pytest.approx(weights, rel=1e-5)
        found.append(sum(weights))

    found, alone = [], ["--tmkd-weight", 0, "--max-epoch", 1]
    inprocess.run_training(flags(classification, tmp_path, *BALANCED, *alone), watcher)
    assert sum(found) == pytest.approx(101, rel=1e-5)


def test_the_term_is_left_out_where_no_clean_logits_are_computed(tmp_path, classification):
    mixed = ["--mle-weight", 0, "--tmkd-weight", 0, "--max-update", 1]
    log = inprocess.run_training(flags(classification, tmp_path, *BALANCED, *mixed))
    assert "balanced_loss" not in log and "sm_loss" in log


@pytest.mark.slow
def test_their_wrapped_split_on_two_processes(tmp_path, classification, teacher):
    def command(folder, update_freq):
        return flags(
            classification, tmp_path / folder, *BALANCED, "--kd-weight", 1, "--teacher-path",
            teacher, "--dropout", 0, "--attention-dropout", 0, "--batch-size", 8, "--update-freq",
            update_freq, "--max-update", 12, "--adam-eps", 1e-5, "--valid-subset", "train,valid",
        )  # fmt: skip

    inprocess.run_training(command("one", 2))
    toy.processes(2, "fairseq_cli.train", command("two", 1))
    assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-6)


CLASS_WEIGHTS = """
    import torch
    import torch.nn.functional as F
    from fairseq.criterions import register_criterion
    from fairseq.data import BaseWrapperDataset
    from fairseq.tasks import register_task
    from mixkd_plugin.criterions.mixkd import MixKDCriterion, MixKDCriterionConfig
    from mixkd_plugin.tasks import mixkd_sentence_prediction as ours

    class WithClassWeights(BaseWrapperDataset):
        def collater(self, samples):
            batch = self.dataset.collater(samples)
            return {**batch, "class_weight": torch.tensor([0.5, 2.0])} if samples else batch

    @register_task("weighted_task", dataclass=ours.MixKDSentencePredictionConfig)
    class WeightedTask(ours.MixKDSentencePredictionTask):
        def load_dataset(self, split, *args, **kwargs):
            self.datasets[split] = WithClassWeights(super().load_dataset(split, *args, **kwargs))
            return self.datasets[split]

    @register_criterion("weighted", dataclass=MixKDCriterionConfig)
    class Weighted(MixKDCriterion):
        def extra_terms(self, sample, clean, mixed):
            target, weight = sample["target"].view(-1), sample["class_weight"]
            return {"weighted": F.cross_entropy(clean, target, weight=weight, reduction="sum")}
"""


@pytest.mark.slow
def test_a_tensor_without_rows_where_one_process_has_a_batch_less(
    tmp_path, classification, teacher
):
    package = tmp_path / "weighted_mixkd"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(CLASS_WEIGHTS))
    more = ["--user-dir", package, "--task", "weighted_task", "--criterion", "weighted"]
    more += ["--kd-weight", 1, "--teacher-path", teacher, "--max-epoch", 1]
    log, _ = toy.processes(
        2, "fairseq_cli.train", toy.train_flags(classification, tmp_path / "run", *more)
    )
    logged = toy.last_values(log, "train")
    assert logged["weighted_loss"] > 0 and logged["examples_seen"] == logged["examples"] == 101


def wrapped_by(monkeypatch, wrapper):
    """Our task, with a wrapper around each split."""
    load = MixKDSentencePredictionTask.load_dataset

    def load_dataset(task, split, *args, **kwargs):
        task.datasets[split] = wrapper(load(task, split, *args, **kwargs))
        return task.datasets[split]

    monkeypatch.setattr(MixKDSentencePredictionTask, "load_dataset", load_dataset)


def test_a_wrapper_changes_no_bit_and_no_epoch(tmp_path, classification, teacher, monkeypatch):
    """Not where the training split is validated on, either: its mixes stay those of the epoch."""
    more = ["--kd-weight", 1, "--teacher-path", teacher, "--valid-subset", "train,valid"]
    more += ["--mixup-period", 2, "--max-epoch", 3]
    inprocess.run_training(flags(classification, tmp_path / "plain", *more))
    wrapped_by(monkeypatch, BaseWrapperDataset)
    inprocess.run_training(flags(classification, tmp_path / "wrapped", *more))
    assert_same_weights(tmp_path / "plain", tmp_path / "wrapped")


class OtherTexts(BaseWrapperDataset):
    def collater(self, samples):
        batch = super().collater(samples)
        batch["net_input"]["src_tokens"] = batch["net_input"]["src_tokens"].clamp(max=20)
        return batch


class OtherItems(BaseWrapperDataset):
    def __getitem__(self, index):
        example = super().__getitem__(index)
        example["target"] = 1 - example["target"]
        return example


class Half(BaseWrapperDataset):
    def __len__(self):
        return len(self.dataset) // 2


class Twice(BaseWrapperDataset):
    def __getitem__(self, index):
        return super().__getitem__(index // 2)


class OneEpoch(BaseWrapperDataset):
    def set_epoch(self, epoch):
        pass


@pytest.mark.parametrize("wrapper", [OtherTexts, OtherItems, Half, Twice, OneEpoch])
def test_a_wrapper_that_changes_the_examples_is_refused(
    tmp_path, classification, monkeypatch, wrapper
):
    wrapped_by(monkeypatch, wrapper)
    command = flags(classification, tmp_path, "--tmkd-weight", 0)
    with pytest.raises(ValueError, match=f"{wrapper.__name__} around split '.*set_epoch") as error:
        inprocess.run_training(command)
    assert "\n" not in str(error.value)


def test_a_plain_wrapper_goes_on(tmp_path, classification, monkeypatch):
    """Without mixes and an order by length fairseq has one iterator for all epochs."""
    wrapped_by(monkeypatch, BaseWrapperDataset)
    more = ["--sm-weight", 0, "--tmkd-weight", 0, "--batch-by-length", "off", "--max-epoch", 3]
    inprocess.run_training(flags(classification, tmp_path, *more))


class NoWrapper(FairseqDataset):
    def __init__(self, dataset):
        self.dataset = dataset


def test_what_is_no_wrapper_is_refused(tmp_path, classification, monkeypatch):
    wrapped_by(monkeypatch, NoWrapper)
    with pytest.raises(ValueError, match="NoWrapper; it must be .*BaseWrapperDataset"):
        inprocess.run_training(flags(classification, tmp_path, "--tmkd-weight", 0))


# --- a model that extends ours ---

PACKAGE = """
    from fairseq.models import register_model, register_model_architecture
    import mixkd_plugin
    from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel

    @register_model("scaled_roberta")
    class ScaledRoberta(MixKDRobertaModel):
        @staticmethod
        def add_args(parser):
            MixKDRobertaModel.add_args(parser)
            parser.add_argument("--scale", type=float, default=1.0)

        def forward(self, *args, **kwargs):
            logits, extra = super().forward(*args, **kwargs)
            return logits * self.args.scale, extra

    @register_model_architecture("scaled_roberta", "scaled_tiny")
    def scaled_tiny(args):
        args.encoder_layers = getattr(args, "encoder_layers", 1)
        args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 32)
        args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 32)
        args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 4)
        args.scale = getattr(args, "scale", 1.0)
"""


def test_a_model_that_extends_ours(tmp_path, classification, teacher):
    package = tmp_path / "scaled_mixkd"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(PACKAGE))
    more = ["--arch", "scaled_tiny", "--scale", 0.5, "--teacher-path", teacher, "--max-epoch", 1]
    log = toy.train(classification, tmp_path / "run", "--user-dir", package, *more).stdout
    assert math.isfinite(toy.last_values(log, "train")["tmkd_loss"])
    trained = tmp_path / "run" / "checkpoint_last.pt"
    more = ["--arch", "scaled_tiny", "--scale", 0.5, "--teacher-path", trained, "--max-epoch", 1]
    more += ["--student-init-path", trained, "--lr", 0, "--kd-weight", 1, "--disable-validation"]
    more += ["--dropout", 0, "--attention-dropout", 0]
    log = toy.train(classification, tmp_path / "own", "--user-dir", package, *more).stdout
    found = toy.last_values(log, "train")
    assert found["kd_loss"] == found["tmkd_loss"] == 0, "it was taught by itself"
    sys.path.insert(0, str(tmp_path))
    try:
        import_user_module(Namespace(user_dir=str(package)))
        path = str(tmp_path / "run" / "checkpoint_last.pt")
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([path])
    finally:
        sys.path.remove(str(tmp_path))
    assert type(model).__name__ == "ScaledRoberta" and model.args.scale == 0.5
