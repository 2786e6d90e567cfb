"""Which output of a classifier is which label of the data."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from ..checkpoints.outputs import declared_names
from ..errors import prefixed
from ..names import class_name, join_names, split_names
from ..tokenizers.library import read_json_if_there
from .texts.likeness import likeness, listed

NUM_TEXTS = "mixkd_num_texts"  # in the config.json of an export
ASKED = 500  # texts by which labels are matched
CLEAR = 1.5  # times that an output must be chosen more often than any other for a label
SETTLE = "--labels A,B,... names the data's labels in the order of its outputs"


class Outputs(NamedTuple):
    """
    names: transformers' own LABEL_0, ..., or numbers, where the classifier has none
    num_texts: of an example, in an export of ours; else None
    """

    names: list[str]
    regression: bool
    multi_label: bool
    num_texts: int | None = None


class Matched(NamedTuple):
    order: list[str]  # the data's label of each output; "" where the data has none
    notes: list[str]


def read_outputs(folder: str) -> Outputs:
    """Those of a Hugging Face classifier, by its config.json.

    Raises:
        ValueError: if its names are not those of the outputs 0, 1, ...
    """
    path = os.path.join(folder, "config.json")
    raw = read_json_if_there(path)
    with prefixed(path):
        names, problem = declared_names(raw), raw.get("problem_type")
    several = problem == "multi_label_classification"
    regression = not several and (len(names) == 1 or problem == "regression")
    return Outputs(names, regression, several, raw.get(NUM_TEXTS))


def is_unnamed(names: Sequence[str]) -> bool:
    """Whether they are only the numbers of the outputs."""
    return [name.removeprefix("LABEL_") for name in names] == [str(i) for i in range(len(names))]


def match_labels(
    classes: Sequence[str],
    theirs: Sequence[str],
    given: str | None,
    confusion: Callable[[], np.ndarray],
    unless: str | None = None,
) -> Matched:
    """The data's label of each of a classifier's outputs.

    Args:
        classes: of the data
        theirs: the classifier's names of its outputs
        given: the value of --labels
        confusion: counts (classes, outputs) of its predictions on labelled texts; asked for only if
            there are as many outputs as classes, or to compare ``given`` with them
        unless: when ``given`` is not compared with the predictions; None: here

    Raises:
        ValueError: with both lists and --labels, where it is not clear.
    """
    outputs, named = len(theirs), not is_unnamed(theirs)
    theirs = [class_name(name) for name in theirs]  # as the data's are: only true differences show
    lists = f"the classifier has {listed(theirs)}, the data {listed(classes)}"
    if given is not None:
        order = [class_name(name) for name in split_names(given)]
        if len(order) != outputs or any(order.count(name) != 1 for name in classes):
            raise ValueError(
                f"--labels must be {outputs} names, each of the data's once among them, got "
                f"{listed(order)}: {lists}"
            )
        if unless is not None:
            _check_order(order, classes, confusion(), unless)
        return Matched(order, [f"labels by --labels: {_shown(theirs, order)}"])
    places = _places(classes, theirs) if named else [None]
    if None not in places and len({*places}) == len(classes):
        order = [""] * outputs
        for name, place in zip(classes, places):
            order[place] = name
        notes = [] if order == theirs else [f"labels by their names: {_shown(theirs, order)}"]
        return Matched(order, notes)
    numbered = [likeness(name) for name in classes] == [str(i) for i in range(outputs)]
    if len(classes) != outputs or (named and not numbered):
        raise ValueError(f"the data's classes must be the classifier's: {lists}; {SETTLE}")
    counts = confusion()
    found, same_numbers = order_by_counts(classes, counts), numbered and not named
    if same_numbers and found in (None, [*classes]):
        return Matched(list(classes), [])
    if same_numbers or found is None:
        raise ValueError(
            f"the labels cannot be matched: {lists}, and its predictions for the texts of "
            f"each class are {counts.tolist()}; {SETTLE}"
        )
    table = tabulate([[n, *row] for n, row in zip(classes, counts)], ["predicted", *theirs])
    says = f"labels by the predictions on {counts.sum()} texts: {_shown(theirs, found)}"
    return Matched(found, [says, table])


def _places(classes: Sequence[str], theirs: Sequence[str]) -> list[int | None]:
    """The output of each class: the one of its name, else the one whose name looks like it."""
    exact, alike = defaultdict(list), defaultdict(list)
    for i, name in enumerate(theirs):
        exact[name].append(i)
        if name not in classes:
            alike[likeness(name)].append(i)
    places = []
    for name in classes:
        found = exact.get(name) or alike.get(likeness(name), [None])
        if len(found) > 1:
            several = ", ".join(f"{ascii(theirs[i])} (output {i})" for i in found)
            raise ValueError(
                f"the data's class {ascii(name)} must look like one of the classifier's, got "
                f"{several}: {SETTLE}"
            )
        places += found
    return places


def _check_order(
    order: Sequence[str], classes: Sequence[str], counts: np.ndarray, unless: str
) -> None:
    """Raise ValueError if an output is clearly a class's, and clearly not that of another class to
    which ``order`` gives it."""
    own = {i: name for name, i in zip(classes, _clear_outputs(counts)) if i is not None}
    of_class = dict(zip(classes, counts))
    for i, name in own.items():
        others = of_class.get(order[i])
        if order[i] != name and others is not None and _is_clear(others.max(), others[i]):
            found = join_names(own.get(place, "?") for place in range(len(order)))
            raise ValueError(
                "--labels must be the order of the classifier's outputs, got "
                f"{join_names(order)}: its predictions say {found}; {unless} takes it as given"
            )


def order_by_counts(classes: Sequence[str], counts: np.ndarray) -> list[str] | None:
    """The class that is predicted most for each output, by (classes, outputs); None: not clear."""
    own = _clear_outputs(counts)
    if {*own} != {*range(counts.shape[1])}:
        return None
    return [classes[own.index(i)] for i in range(len(own))]


def _clear_outputs(counts: np.ndarray) -> list[int | None]:
    """The output that is predicted most for each class; None: not clear."""
    clear = [_is_clear(most, second) for second, most in np.sort(counts, axis=1)[:, -2:]]
    return [i if sure else None for i, sure in zip(counts.argmax(axis=1).tolist(), clear)]


def _is_clear(more: float, less: float) -> bool:
    return more >= max(1, CLEAR * less)


def _shown(theirs: Sequence[str], order: Sequence[str]) -> str:
    return ", ".join(f"{their} is {our or 'absent'}" for their, our in zip(theirs, order))
