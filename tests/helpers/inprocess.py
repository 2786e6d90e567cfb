"""fairseq's commands inside the test process: what `fairseq-train` does, without its start-up."""

import contextlib
import logging
from pathlib import Path
from typing import Callable, Dict, Iterator, List
from unittest import mock

import fairseq_cli.preprocess
import fairseq_cli.train
import fairseq_cli.validate
import hydra.experimental
import torch
from fairseq import options
from fairseq.dataclass import utils as dataclass_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

# hydra copies its sources for each composition, and with them the store of all that fairseq has
ConfigStore.__deepcopy__ = lambda store, memo: store


class Log(logging.Handler):
    """Collects messages; ``text`` is what the command would have printed."""

    def __init__(self):
        super().__init__()
        self.lines: List[str] = []

    def emit(self, record):
        self.lines.append(f"{record.levelname} | {record.name} | {record.getMessage()}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@contextlib.contextmanager
def captured_log() -> Iterator[Log]:
    log = Log()
    root = logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.INFO)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(level)


_composed: Dict[tuple, tuple] = {}  # by what was chosen: (its nodes, overrides, configuration)


def compose(name, overrides, strict):
    """hydra's compose; it takes 0.4 seconds, and most of what it does it did before.

    Of two lists of overrides that choose the same groups only values that differ are set anew.
    """
    given = dict(override.split("=", 1) for override in overrides)
    chosen = [(group, value) for group, value in given.items() if "." not in group]
    repo = ConfigStore.instance().repo
    nodes = [repo.get(group, {}).get(f"{value}.yaml") for group, value in chosen]
    key = (*chosen, *map(id, nodes), *given)
    try:
        _, before, config = _composed.pop(key)
        for path in (path for path in given if given[path] != before[path]):
            value = OverridesParser.create().parse_override(f"{path}={given[path]}").value()
            OmegaConf.update(config, path, value, merge=False)
    except Exception:  # the first time, or a value that hydra has a message for
        config = hydra.experimental.compose(name, overrides=overrides, strict=strict)
    _composed[key] = (nodes, given, config)
    return config


def config_of(args):
    """fairseq's configuration of parsed arguments."""
    with mock.patch.object(dataclass_utils, "compose", compose):
        return dataclass_utils.convert_namespace_to_omegaconf(args)


def training_config(flags):
    """The configuration that ``fairseq-train FLAGS`` runs with."""
    arguments = [str(flag) for flag in flags]
    return config_of(options.parse_args_and_arch(options.get_training_parser(), arguments))


@contextlib.contextmanager
def watched_updates(watcher: Callable[[Trainer, list], None]) -> Iterator[None]:
    """Call ``watcher(trainer, batches)`` before every update of any trainer.

    ``trainer.epoch_begun`` is the epoch it is in.
    """
    train_step, begin_epoch = Trainer.train_step, Trainer.begin_epoch

    def watched_train_step(trainer, samples, *args, **kwargs):
        watcher(trainer, samples)
        return train_step(trainer, samples, *args, **kwargs)

    def noted_begin_epoch(trainer, epoch):
        trainer.epoch_begun = epoch
        return begin_epoch(trainer, epoch)

    Trainer.train_step, Trainer.begin_epoch = watched_train_step, noted_begin_epoch
    try:
        yield
    finally:
        Trainer.train_step, Trainer.begin_epoch = train_step, begin_epoch


def run_training(flags, watcher: Callable[[Trainer, list], None] = lambda *_: None) -> str:
    """``fairseq-train FLAGS`` in this process; its log."""
    return run_config(training_config(flags), watcher)


def run_config(config, watcher: Callable[[Trainer, list], None] = lambda *_: None) -> str:
    """The same of a configuration."""
    with captured_log() as log, watched_updates(watcher):
        distributed_utils.call_main(config, fairseq_cli.train.main)
    return log.text


def run_until(updates: int, flags) -> None:
    """``fairseq-train FLAGS``, interrupted when so many updates were done."""

    def stop(trainer, _):
        if trainer.get_num_updates() == updates:
            raise KeyboardInterrupt

    try:
        run_training(flags, stop)
    except KeyboardInterrupt:
        return
    raise AssertionError(f"it ended before {updates} updates")


class ReachedFirstUpdateError(Exception):
    """Training got past all checks."""


def start_training(flags) -> None:
    """``fairseq-train FLAGS`` up to its first update, then :class:`ReachedFirstUpdateError`."""

    def stop(*_):
        raise ReachedFirstUpdateError

    run_training(flags, stop)


def preprocess(*arguments) -> None:
    """``fairseq-preprocess ARGUMENTS`` in this process."""
    parser = options.get_preprocessing_parser()
    logger = logging.getLogger("fairseq_cli.preprocess")
    handlers = list(logger.handlers)
    try:
        fairseq_cli.preprocess.main(parser.parse_args([str(a) for a in arguments]))
    finally:
        for handler in set(logger.handlers) - set(handlers):  # a log file in the data folder
            logger.removeHandler(handler)
            handler.close()


def validate(*arguments) -> str:
    """``fairseq-validate ARGUMENTS`` in this process; its log."""
    given = [str(a) for a in arguments]
    args = options.parse_args_and_arch(options.get_validation_parser(), given)
    overrides = options.parse_args_and_arch(
        options.get_validation_parser(), given, suppress_defaults=True
    )
    keep_handlers = mock.patch.object(fairseq_cli.validate, "reset_logging", lambda: None)
    with captured_log() as log, keep_handlers:
        fairseq_cli.validate.main(config_of(args), override_args=overrides)
    return log.text


def checkpoint(folder: Path, name: str = "checkpoint_last.pt") -> dict:
    return torch.load(folder / name, map_location="cpu")


def updates(folder: Path, name: str = "checkpoint_last.pt") -> int:
    return checkpoint(folder, name)["optimizer_history"][-1]["num_updates"]
