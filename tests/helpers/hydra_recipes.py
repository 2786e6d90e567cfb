"""The hydra recipes of examples/, composed or run inside the test process."""

import sys
from contextlib import contextmanager
from unittest import mock

from fairseq.dataclass.initialize import hydra_init
from fairseq_cli import hydra_train
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from toy import PLUGIN, ROOT

FOLDER = ROOT / "examples" / "hydra"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "run")

# On toy data, in a second.
SMALL = {
    "common.user_dir": PLUGIN, "common.cpu": "true", "model._name": "mixkd_tiny",
    "task.num_classes": 2, "task.max_positions": 64,
    "dataset.batch_size": 16, "dataset.num_workers": 0, "lr_scheduler.warmup_updates": 2,
}  # fmt: skip


# The losses and mixes of `fairseq-train` without flags.
PAPER = {
    "criterion.mle_weight": 1,
    "criterion.sm_weight": 1,
    "task.mixup_kind": "interpolate",
    "task.mixup_alpha": 0.4,
}


def overrides(values: dict) -> list:
    return [f"{key}={value}" for key, value in values.items()]


@contextmanager
def _fresh_hydra():
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def composed(recipe: str, *arguments: str):
    """What ``fairseq-hydra-train`` composes of a recipe: the plugin is not imported yet then."""
    hydra_init(recipe)
    known = {
        group: {name: node for name, node in nodes.items() if not name.startswith("mixkd")}
        for group, nodes in ConfigStore.instance().repo.items()
        if group in ("task", "criterion")
    }
    without_plugin = mock.patch.dict(ConfigStore.instance().repo, known)
    with without_plugin, _fresh_hydra(), initialize_config_dir(str(FOLDER), version_base="1.1"):
        return compose(recipe, overrides=list(arguments))


def train(recipe: str, *arguments, folder=FOLDER) -> None:
    """``fairseq-hydra-train --config-dir FOLDER --config-name RECIPE ARGUMENTS``."""
    command = ["fairseq-hydra-train", "--config-dir", folder, "--config-name", recipe, *arguments]
    with _fresh_hydra(), mock.patch.object(sys, "argv", [str(word) for word in command]):
        hydra_train.cli_main()
