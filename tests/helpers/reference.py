"""The tables of user_dir_README.md, from the code: `python tests/helpers/reference.py` writes them.

A table stands between a line that names it and the next empty line.
"""

import argparse
import re
from pathlib import Path
from typing import Callable, Dict, Iterable, List

from mixkd_plugin.__main__ import COMMANDS
from mixkd_plugin.models.mixkd_roberta import SIZES
from mixkd_plugin.tools.flags.flags import OURS, declared, described

FILE = Path(__file__).resolve().parents[2] / "user_dir_README.md"


def table(head: str, rows: Iterable[Iterable]) -> List[str]:
    columns = head.split(", ")
    written = [f"| {' | '.join(map(str, row))} |" for row in (columns, *rows)]
    return [written[0], "|---" * len(columns) + "|", *written[1:]]


def default(action: argparse.Action) -> str:
    if isinstance(action.default, bool):
        return "on" if action.default else "off"
    return "" if action.default is None else str(action.default)


def flags(section: str) -> List[str]:
    """Each with the first clause of its help; `mixkd flags` has the rest."""
    found = [(a, re.split(r": |; | \(", described(a))[0]) for s, a in declared() if s == section]
    rows = ([f"`{a.option_strings[0]}`", default(a), meaning] for a, meaning in found)
    return table("flag, default, meaning", rows)


def architectures() -> List[str]:
    """One row for those that differ in their layers alone."""
    same: Dict[tuple, List[tuple]] = {}
    for name, (layers, *size) in SIZES.items():
        same.setdefault((re.sub(r"_\d+layer", "", name), *size), []).append((f"`{name}`", layers))
    rows = ([*(", ".join(map(str, c)) for c in zip(*of)), *size] for (_, *size), of in same.items())
    return table("architecture, layers, width, feed-forward, heads", rows)


def commands() -> List[str]:
    return table("`mixkd`, what it does", ([f"`{n}`", what] for n, (_, what) in COMMANDS.items()))


TABLES: Dict[str, Callable[[], List[str]]] = {
    **{section: lambda section=section: flags(section) for section in OURS[:3]},
    "architectures": architectures,
    "commands": commands,
}


def with_tables(text: str) -> str:
    """The document with its tables as the code has them.

    Raises:
        ValueError: if it has no place for one.
    """
    for name, rows in TABLES.items():
        place = f"<!-- table: {name} -->\n"
        if place not in text:
            raise ValueError(f"user_dir_README.md has no line {place.strip()}")
        before, after = text.split(place)
        text = before + place + "\n".join(rows()) + "\n\n" + after.partition("\n\n")[2]
    return text


if __name__ == "__main__":
    FILE.write_text(with_tables(FILE.read_text(encoding="utf-8")), encoding="utf-8")
