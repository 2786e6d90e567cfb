"""The settings in a checkpoint, as plain values: nothing in them is resolved, built or evaluated.

A checkpoint is a stranger's file. fairseq would build whichever model and task its settings name,
and many of those evaluate strings of them. Here a setting is what it looks like: a number, a text
or a list, and each one that is used is checked first.
"""

import math
import re
from argparse import Namespace
from typing import Any, Callable, Dict, Iterable, Optional, Sequence

import omegaconf
from omegaconf import OmegaConf

FAIRSEQ_EPS = 1e-5  # of LayerNorm, where a configuration does not say
SECTIONS = {"model": "arch", "task": "task", "criterion": "criterion"}  # and what args call them
_MOST = 100_000  # values in all, and characters of one
_LARGEST = 2**31
_DEEPEST = 50

# No brackets, quotes or dollars: evaluated by whoever, such a text calls nothing.
_TEXT = re.compile(r"[\w .,:;/+\-=@%~|]*")
_NUMBERS = re.compile(r"[\[\](),\s\d.e+\-]*")

Section = Dict[str, Any]


class SettingsError(ValueError):
    """A setting that no checkpoint of this kind has."""


def sections_of(state: Dict[str, Any]) -> Dict[str, Section]:
    """``model``, ``task`` and ``criterion`` of a checkpoint; ``_name`` says which it is, if known.

    Raises:
        SettingsError: where they cannot be told.
    """
    if state.get("cfg") is not None:
        whole = _plain(state["cfg"])
        sections = {name: whole.get(name) for name in SECTIONS} if isinstance(whole, dict) else {}
        found = {k: v if isinstance(v, dict) else {} for k, v in sections.items()}
    else:
        flat = _plain(state["args"])
        if not isinstance(flat, dict):
            flat = {}
        found = {name: {**flat, "_name": flat.get(flag)} for name, flag in SECTIONS.items()}
    if not found.get("model"):
        raise SettingsError("its settings say nothing about its model")
    for section_name, section in found.items():
        name = section.get("_name") or (section_name == "model" and section.get("arch"))
        section["_name"] = name if isinstance(name, str) else None
    return found


_UNUSABLE = object()  # what is no plain value is no setting


def _plain(value: Any) -> Any:
    left = [_MOST]

    def walk(value: Any, depth: int = 0) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > _DEEPEST:
            raise SettingsError("its settings are larger than any checkpoint needs")
        if isinstance(value, omegaconf.Container):
            value = OmegaConf.to_container(value, resolve=False, enum_to_str=True)
        if isinstance(value, Namespace):
            value = vars(value)
        if isinstance(value, dict):
            kept = {k: walk(v, depth + 1) for k, v in value.items() if isinstance(k, str)}
            return {k: v for k, v in kept.items() if v is not _UNUSABLE}
        if isinstance(value, (list, tuple)):
            kept = [walk(v, depth + 1) for v in value]
            return _UNUSABLE if _UNUSABLE in kept else kept
        plain = value is None or isinstance(value, (bool, int, float, str))
        return value if plain else _UNUSABLE

    return walk(value)


def shown(value: Any) -> str:
    """For an error's one line."""
    return ascii(value)[:80]


def shown_names(names: Iterable[str]) -> str:
    """A few of them, as they are where they can be printed."""
    return ", ".join(n if n.isprintable() and len(n) < 80 else shown(n) for n in sorted(names)[:9])


def _get(
    section: Section, name: str, default: Any, fits: Callable[[Any], bool], allowed: str
) -> Any:
    """A setting that fits, or ``default`` where there is none.

    Raises:
        SettingsError: where it does not fit
    """
    value = section.get(name)
    if value is None:
        return default
    if not fits(value):
        raise SettingsError(f"its setting {name} must be {allowed}, got {shown(value)}")
    return value


def integer(section: Section, name: str, default: Any = None, least: int = 0) -> Any:
    def fits(value: Any) -> bool:
        return type(value) is int and least <= value <= _LARGEST

    return _get(section, name, default, fits, f"a whole number from {least}")


def real(section: Section, name: str, default: Any = None) -> Any:
    def fits(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value)

    return _get(section, name, default, fits, "a number")


def boolean(section: Section, name: str, default: Optional[bool] = None) -> Optional[bool]:
    value = _get(section, name, default, lambda value: value in (False, True), "true or false")
    return None if value is None else bool(value)


def one_of(section: Section, name: str, allowed: Sequence[str], default: Any = None) -> Any:
    return _get(section, name, default, lambda value: value in allowed, ", ".join(allowed))


def text(section: Section, name: str, default: Any = None) -> Any:
    """What is shown, compared or looked up as a file's name, and nothing else."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= _MOST and not re.search("[\0\r\n]", value)

    return _get(section, name, default, fits, "a text")


def harmless(name: str, value: Any) -> Any:
    """A setting of a model of one's own: numbers, names, and lists of them.

    Raises:
        SettingsError: for a text that could be code, in fairseq's or OmegaConf's eyes.
    """
    if isinstance(value, dict):
        return {key: harmless(f"{name}.{key}", one) for key, one in value.items()}
    if isinstance(value, list):
        return [harmless(name, one) for one in value]
    number = isinstance(value, (int, float))
    word = isinstance(value, str) and len(value) <= 1000
    if value is None or number or (word and (_TEXT.fullmatch(value) or _NUMBERS.fullmatch(value))):
        return value
    raise SettingsError(
        f"its setting {shown(name)} must be numbers, or texts of letters, digits and "
        f". , : ; / + - = @ % ~ |, got {shown(value)}"
    )
