"""Which output of the teacher is which label of the data."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from ..texts.examples import class_name
from ..texts.likeness import likeness
from ..texts.names import join_names, split_names

CLEAR = 1.5  # times that an output must be chosen more often than any other for a label
SETTLE = "--labels A,B,... names the data's labels in the order of the teacher's outputs"


class Matched(NamedTuple):
    order: list[str]  # the data's label of each output; "" where the data has none
    notes: list[str]


def match_labels(
    classes: Sequence[str],
    outputs: int,
    declared: Sequence[str] | None,
    given: str | None,
    confusion: Callable[[], np.ndarray],
) -> Matched:
    """The data's label of each of the teacher's outputs.

    Args:
        classes: of the data
        declared: the teacher's names of its outputs; None: it has none of its own
        given: the value of --labels
        confusion: counts (classes, outputs) of the teacher's predictions on the dev set

    Raises:
        ValueError: with both lists and --labels, where it is not clear.
    """
    theirs = list(declared or [f"LABEL_{i}" for i in range(outputs)])
    lists = f"the teacher has {join_names(theirs)}, the data {join_names(classes)}"
    if given is not None:
        order = [class_name(name) for name in split_names(given)]
        if len(order) != outputs or not {*classes} <= {*order}:
            raise ValueError(
                f"--labels must be {outputs} names, the data's among them, got {given}: {lists}"
            )
        return Matched(order, [f"labels by --labels: {_shown(theirs, order)}"])
    alike = {likeness(name): i for i, name in enumerate(declared or ())}
    places = [alike.get(likeness(name)) for name in classes]
    if declared and None not in places and len({*places}) == len(classes):
        order = [""] * outputs
        for name, place in zip(classes, places):
            order[place] = name
        notes = [] if order == theirs else [f"labels by their names: {_shown(theirs, order)}"]
        return Matched(order, notes)
    numbered = [likeness(name) for name in classes] == [str(i) for i in range(outputs)]
    if len(classes) != outputs or (declared and not numbered):
        raise ValueError(f"the data's classes must be the teacher's: {lists}; {SETTLE}")
    counts = confusion()
    best, second = counts.argmax(axis=1).tolist(), np.sort(counts, axis=1)[:, -2]
    clear = sorted(best) == [*range(outputs)] and (counts.max(axis=1) >= CLEAR * second).all()
    same_numbers = numbered and not declared
    if same_numbers and (not clear or best == [*range(outputs)]):
        return Matched(list(classes), [])
    if same_numbers or not clear:
        raise ValueError(
            f"the labels cannot be matched: {lists}, and its answers to the dev texts of each "
            f"class are {counts.tolist()}; {SETTLE}"
        )
    order = [classes[best.index(i)] for i in range(outputs)]
    table = tabulate([[n, *row] for n, row in zip(classes, counts)], ["its answers", *theirs])
    return Matched(order, [f"labels by the teacher's predictions: {_shown(theirs, order)}", table])


def _shown(theirs: Sequence[str], order: Sequence[str]) -> str:
    return ", ".join(f"{their} is {our or 'absent'}" for their, our in zip(theirs, order))
