"""The file of a distillation's plan: plan.yaml, whose settings --plan gives again."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from ..output import atomic_write
from .command import build_parser
from .plan import Plan

PATHS = ("teacher", "encoder", "train", "dev", "glue")
NOT_SAVED = ("out", "plan", "force", "dry_run", "minutes", "min_retention")
IF_GIVEN = ("width", "cpu", "precision")  # else of the teacher, who may not have it, or the machine


def save_plan(plan: Plan, args: argparse.Namespace, path: Path) -> None:
    """All flags with their chosen values, for --plan on any machine."""
    known = {name: value for name, value in vars(args).items() if _is_given(value)}
    for name in PATHS:
        if name in known and Path(known[name]).exists():
            known[name] = str(Path(known[name]).resolve())
    if known.get("unlabelled"):
        known["unlabelled"] = [str(Path(file).resolve()) for file in known["unlabelled"]]
    values = {**known, **plan.values}
    left_out = {*NOT_SAVED, *IF_GIVEN} - ({*IF_GIVEN} & {*known})
    values = {name: value for name, value in values.items() if name not in left_out}
    atomic_write(path, yaml.safe_dump(values, sort_keys=False))


def apply_plan(args: argparse.Namespace) -> None:
    """Flags that were not given get the values of --plan.

    Raises:
        ValueError: if it is not a plan, or has a value that a flag does not take.
    """
    try:
        values = yaml.safe_load(Path(args.plan).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(
            f"--plan must be the plan.yaml of an earlier run, got {args.plan}: {error}"
        ) from error
    unknown = {*values} - {*vars(args)} if isinstance(values, dict) else {"no settings"}
    if unknown:
        raise ValueError(
            f"--plan {args.plan} must have the names of flags alone, got "
            f"{', '.join(map(str, unknown))}"
        )
    if args.minutes is not None:
        values.pop("updates", None)
    actions = {action.dest: action for action in build_parser()._actions}
    for name, value in values.items():
        if value is not None and not _is_given(getattr(args, name)):
            setattr(args, name, _read(value, actions[name], f"--plan {args.plan}: {name}"))


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != []  # 0 is


def _read(value: Any, action: argparse.Action, where: str) -> Any:
    """A value of YAML, which a user may have edited, as the command line reads it.

    Raises:
        ValueError: beginning with ``where``, for one that the flag does not take.
    """
    many = action.nargs == "*" or isinstance(action, argparse._AppendAction)
    for must, kind in (("true or false", bool), ("a list", list)):
        wanted = action.nargs == 0 if kind is bool else many
        if isinstance(value, kind) != wanted:
            raise ValueError(f"{where} must {'' if wanted else 'not '}be {must}, got {value}")
    if action.nargs == 0:
        return value
    if many:
        return [*map(str, value)]
    try:
        value = (action.type or str)(str(value))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{where} {error}") from error
    except ValueError as error:
        raise ValueError(f"{where} must be a number, got {value}") from error
    if action.choices and value not in action.choices:
        raise ValueError(f"{where} must be one of {', '.join(action.choices)}, got {value}")
    return value
