"""The flags of `fairseq-train` with this plugin, from their declarations."""

import argparse
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from fairseq import options
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.models.roberta import RobertaModel
from fairseq.optim.adam import FairseqAdamConfig
from fairseq.optim.lr_scheduler.polynomial_decay_schedule import PolynomialDecayLRScheduleConfig

from ...criterions.config import MixKDCriterionConfig
from ...models.mixkd_hf import MixKDHFModel
from ...models.mixkd_roberta import MixKDRobertaModel
from ...names import as_flag
from ...tasks.config import MixKDSentencePredictionConfig

OURS = (
    "--task mixkd_sentence_prediction",
    "--criterion mixkd",
    "--arch mixkd_*",
    "--arch mixkd_hf",
)
FAIRSEQ = "fairseq's own"
# The flags of fairseq that a run of ours sets, in the order of their declarations.
MATTER = {
    *("user-dir", "task", "criterion", "arch", "num-classes", "init-token", "separator-token"),
    *("max-positions", "dropout", "attention-dropout", "pooler-dropout", "optimizer", "adam-betas"),
    *("lr", "lr-scheduler", "warmup-updates", "total-num-update", "weight-decay", "clip-norm"),
    *("batch-size", "max-tokens", "update-freq", "max-epoch", "max-update", "fp16", "bf16", "cpu"),
    *("seed", "num-workers", "save-dir", "restore-file", "finetune-from-model", "valid-subset"),
    *("no-epoch-checkpoints", "no-save-optimizer-state", "best-checkpoint-metric", "patience"),
    *("maximize-best-checkpoint-metric", "validate-interval", "validate-interval-updates"),
    *("log-format", "log-interval"),
}


def listing(pattern: str | None) -> str:
    """The flags whose name or help has ``pattern``; without one ours and those of MATTER.

    Raises:
        ValueError: if there are none.
    """
    lines, section = [], ""
    indent = {"initial_indent": "      ", "subsequent_indent": "      "}
    for of, action in declared():
        name = as_flag(action.dest)
        text = described(action)
        if pattern is None and of == FAIRSEQ and name.removeprefix("--") not in MATTER:
            continue
        if pattern is not None and pattern.lower() not in f"{name} {text}".lower():
            continue
        if of != section:
            lines += [f"{of}:", ""]
            section = of
        lines += [f"  {name}{value(action)}", *wrap(text, 100, **indent), ""]
    if not lines:
        raise ValueError(f"PATTERN must be in the name or the help of a flag, got {pattern!r}")
    return "\n".join(lines).rstrip()


def declared() -> Iterator[tuple[str, argparse.Action]]:
    """Each flag with its section, ours first."""
    parsers = {section: argparse.ArgumentParser(add_help=False) for section in OURS}
    task, criterion, model, of_transformers = parsers.values()
    gen_parser_from_dataclass(task, MixKDSentencePredictionConfig())
    gen_parser_from_dataclass(criterion, MixKDCriterionConfig())
    MixKDRobertaModel.add_args(model)
    MixKDHFModel.add_args(of_transformers)
    theirs = argparse.ArgumentParser(add_help=False)
    RobertaModel.add_args(theirs)
    own = {
        name
        for config in (MixKDSentencePredictionConfig, MixKDCriterionConfig)
        for name in config.__annotations__
    }
    own |= {a.dest for a in model._actions} - {a.dest for a in theirs._actions} | {"hf_model"}
    others = options.get_training_parser("no_task")
    for config in (FairseqAdamConfig(), PolynomialDecayLRScheduleConfig()):
        gen_parser_from_dataclass(others, config)
    found = [
        (section if action.dest in own else FAIRSEQ, action)
        for section, parser in parsers.items()
        for action in parser._actions
    ]
    found += [(FAIRSEQ, action) for action in others._actions]
    seen: set[str] = set()
    for section, action in sorted(found, key=lambda one: one[0] == FAIRSEQ):
        helpful = action.help or action.dest.replace("_", "-") in MATTER
        if action.option_strings and helpful and action.dest not in seen:
            seen.add(action.dest)
            yield section, action


def value(action: argparse.Action) -> str:
    """What a flag takes, and its default."""
    if action.nargs == 0:
        return "" if not action.default else " (on by default)"
    what = "" if action.type is None else getattr(action.type, "__name__", "")
    if action.choices and len(action.choices) <= 6:
        what = "|".join(map(str, action.choices))
    shown = action.default
    told = "(default" in (action.help or "") or shown in (None, "", argparse.SUPPRESS)
    default = "" if told else f" (default: {shown})"
    return f" {'' if what == '<lambda>' else what}".rstrip() + default


def described(action: argparse.Action) -> str:
    text = " ".join((action.help or "").replace("%%", "%").split())
    if action.dest == "arch":
        ours: list[Any] = [name for name in ARCH_MODEL_REGISTRY if name.startswith("mixkd_")]
        text = f"architecture, such as ours: {', '.join(ours)}"
    return text
