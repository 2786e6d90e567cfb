"""The settings in a checkpoint, as plain values: nothing in them is resolved, built or evaluated.

A checkpoint may come from an untrusted source. fairseq would build any model and task that its
settings name, and many of those evaluate strings. Here a setting is a plain number, text or list,
and each one is checked before its use.
"""

import math
import re
from argparse import Namespace
from typing import Any, Callable, Dict, Iterable, Optional, Sequence

import omegaconf
from omegaconf import OmegaConf

FAIRSEQ_EPS = 1e-5  # of LayerNorm, the default
SECTIONS = {"model": "arch", "task": "task", "criterion": "criterion"}  # and their names in args
_MOST = 100_000  # values in all, and characters of one
_LARGEST = 2**31
_DEEPEST = 50

# No brackets, quotes or dollars: even if evaluated, such a text calls nothing.
_TEXT = re.compile(r"[\w .,:;/+\-=@%~|]*")
_NUMBERS = re.compile(r"[\[\](),\s\d.e+\-]*")

Section = Dict[str, Any]


class SettingsError(ValueError):
    """A setting that no checkpoint of this kind has."""


def sections_of(state: Dict[str, Any]) -> Dict[str, Section]:
    """``model``, ``task`` and ``criterion`` of a checkpoint; ``_name``: as registered, if known.

    Raises:
        SettingsError: if they cannot be found.
    """
    if state.get("cfg") is not None:
        cfg = _plain(state["cfg"])
        sections = {name: cfg.get(name) for name in SECTIONS} if isinstance(cfg, dict) else {}
        found = {k: v if isinstance(v, dict) else {} for k, v in sections.items()}
    else:
        flat = _plain(state["args"])
        if not isinstance(flat, dict):
            flat = {}
        found = {name: {**flat, "_name": flat.get(flag)} for name, flag in SECTIONS.items()}
    if not found.get("model"):
        raise SettingsError("its settings must describe its model, got none")
    for section_name, section in found.items():
        name = section.get("_name") or (section_name == "model" and section.get("arch"))
        section["_name"] = name if isinstance(name, str) else None
    return found


_UNUSABLE = object()  # for values that are not plain


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
    """A value in an error's line."""
    return ascii(value)[:80]


def shown_names(names: Iterable[str]) -> str:
    """A few names, without quotation marks if they are printable."""
    return ", ".join(n if n.isprintable() and len(n) < 80 else shown(n) for n in sorted(names)[:9])


def _get(
    section: Section, name: str, default: Any, fits: Callable[[Any], bool], allowed: str
) -> Any:
    """A checked setting, or ``default`` if it is absent; SettingsError for a wrong value."""
    value = section.get(name)
    if value is None:
        return default
    if not fits(value):
        raise SettingsError(f"its setting {name} must be {allowed}, got {shown(value)}")
    return value


def integer(section: Section, name: str, default: Any = None, least: int = 0) -> Any:
    def fits(value: Any) -> bool:
        return type(value) is int and least <= value <= _LARGEST

    return _get(section, name, default, fits, f"an integer >= {least}")


def real(section: Section, name: str, default: Any = None) -> Any:
    def fits(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value)

    return _get(section, name, default, fits, "a number")


def boolean(section: Section, name: str) -> Optional[bool]:
    value = _get(section, name, None, lambda value: value in (False, True), "true or false")
    return None if value is None else bool(value)


def one_of(section: Section, name: str, allowed: Sequence[Any], default: Any = None) -> Any:
    known = ", ".join(map(str, allowed))
    return _get(section, name, default, lambda value: value in allowed, known)


def text(section: Section, name: str, default: Any = None) -> Any:
    """A text that is only shown, compared or used as a file's name."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= _MOST and not re.search("[\0\r\n]", value)

    return _get(section, name, default, fits, "a text")


def harmless(name: str, value: Any) -> Any:
    """A setting of a user's model: numbers, names, and lists of them.

    Raises:
        SettingsError: for a text that fairseq or OmegaConf could evaluate.
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
