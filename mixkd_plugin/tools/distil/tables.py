"""The texts of a distillation as tables that `encode` reads."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..output import atomic_write
from .data import Data

FIELDS = ("text", "text2")


def label_columns(data: Data, outputs: int) -> list[str]:
    """Of our tables: several labels have a column of 0 and 1 for each of the teacher's outputs."""
    return [f"label{i}" for i in range(outputs)] if data.multi_label else ["label"]


def write_tables(
    data: Data, order: Sequence[str], names: Sequence[str], folder: Path
) -> dict[str, Path]:
    """train.jsonl and dev.jsonl.

    Args:
        order: the data's class of each of the teacher's outputs, "" where it has none
        names: the teacher's names of the outputs
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, of_class = {}, dict(zip(order, names))
    columns = label_columns(data, len(order))
    known = {name: place for place, name in enumerate(data.classes or ())}
    places = [known.get(name) for name in order]
    for split, examples in (("train", data.train), ("dev", data.dev)):
        lines = []
        for example in examples:
            values = example.label.split()
            if example.label == data.no_label:
                labels = [""] * len(columns)
            elif data.multi_label:
                labels = ["0" if place is None else values[place] for place in places]
            else:
                labels = [of_class.get(example.label, example.label)]
            row = {**dict(zip(FIELDS, example.texts)), **dict(zip(columns, labels))}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        paths[split] = folder / f"{split}.jsonl"
        atomic_write(paths[split], "".join(lines))
    return paths
