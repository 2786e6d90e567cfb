"""Architectures and models of one's own, by the real command lines."""

import math
import shutil
import sys
import textwrap
from argparse import Namespace

import hydra_recipes
import inprocess
import pytest
import toy
from extending import MINE, flags, import_theirs, validated
from fairseq import checkpoint_utils
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.utils import import_user_module
from omegaconf import OmegaConf
from same_end import assert_same_weights
from slow_cases import slow

from mixkd_plugin.models.mixkd_roberta import SIZES, drop_nulls
from mixkd_plugin.tasks.beginning import check_architecture


@pytest.fixture(scope="module", autouse=True)
def theirs():
    import_theirs()


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
