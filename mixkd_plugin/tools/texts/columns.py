"""Finds the columns of texts and labels of a table by their names."""

import re
from collections.abc import Collection, Sequence

from ...names import split_names
from .files import format_of, read_rows
from .likeness import listed
from .reading import Columns

PAIRS = (
    *(("premise", "hypothesis"), ("sentence1", "sentence2"), ("text1", "text2")),
    *(("text_a", "text_b"), ("sentence_a", "sentence_b"), ("question1", "question2")),
    *(("question", "sentence"), ("question", "answer"), ("question", "passage")),
    *(("query", "passage"), ("#1 string", "#2 string")),
)
TEXTS = ("text", "sentence", "review", "content", "body", "comment", "message", "tweet")
TEXTS += ("utterance", "query", "question", "document", "title")
LABELS = ("label", "target", "labels", "class", "category", "sentiment", "score", "rating")
LABELS += ("stars", "gold_label", "polarity", "intent", "emotion", "topic", "quality")
KNOWN = {*TEXTS, *LABELS, *sum(PAIRS, ())}
SEPARATORS = re.compile("[;|,\t]")  # in a name: a line that was not split
SURE = 2  # leading names of TEXTS and LABELS, which win over others in the table


def find_columns(path: str, text: str | None, label: str | None, labelled: bool = True) -> Columns:
    """The columns of a file, see :func:`choose_columns`."""
    return choose_columns(path, header_of(path), text, label, labelled)


def header_of(path: str) -> list[str]:
    """The first line of a table, or the names in its first object."""
    first = next(read_rows(path, format_of(path)), None)
    if first is None:
        raise ValueError(f"{path} is empty")
    if isinstance(first[1], str):
        raise ValueError(f"{path}, line {first[0]}: {first[1]}")
    return list(first[1])


def choose_columns(
    path: str, header: Sequence[str], text: str | None, label: str | None, labelled: bool = True
) -> Columns:
    """The columns to read, by the flags --text and --label, else by their names.

    Of known names that differ by case alone the one in lower case wins.

    Raises:
        ValueError: with the table's columns, where none or several names are known.
    """
    spelt: dict[str, list[str]] = {}
    for name in dict.fromkeys(header):
        spelt.setdefault(name.strip().casefold(), []).append(name)
    names = {key: key if key in its else its[0] for key, its in spelt.items()}
    unclear = {names[k]: its for k, its in spelt.items() if len(its) > 1 and names[k] not in KNOWN}
    if label:
        labels = [label] if label in header else split_names(label)
    else:
        labels = [names[n] for n in LABELS if n in names]
    texts = split_names(text) if text else _find_texts(names, labels)
    if not label:
        labels = _surest([name for name in labels if name not in texts], LABELS)
    is_pair = tuple(name.strip().casefold() for name in texts) in PAIRS
    of_text, of_label = "the column of the text, or the two of a pair", "the column of the label"
    if len(texts) not in (1, 2) or (len(texts) > 1 and not (text or is_pair)):
        raise ValueError(_ask("--text", of_text, path, header))
    if labelled and len(labels) != 1 and not label:
        raise ValueError(_ask("--label", of_label, path, header))
    found = [("--text", of_text, name) for name in texts if not text]
    found += [("--label", of_label, name) for name in labels if labelled and not label]
    for flag, what, name in found:
        if name in unclear:
            raise ValueError(_ask(flag, what, path, header, unclear[name]))
    return Columns(tuple(texts), tuple(labels) if labelled else ())


def text_is(names: Sequence[object]) -> str:
    """What commands say about the columns that they read."""
    return f"text is {' + '.join(map(str, names))}"


def _find_texts(names: dict[str, str], labels: Sequence[str]) -> list[str]:
    unsplit = split_wrongly(names.values())
    names = {key: name for key, name in names.items() if name not in labels}
    for pair in PAIRS:
        if names.keys() >= {*pair}:
            return [names[name] for name in pair]
    found = _surest([names[n] for n in TEXTS if n in names], TEXTS)
    return found or (list(names.values()) if len(names) == 1 and not unsplit else [])


def split_wrongly(header: Collection[str]) -> bool:
    """Whether the only name looks like a line that was not split, or like a text with a comma."""
    return len(header) == 1 and bool(SEPARATORS.search(*header))


def _surest(found: list[str], known: Sequence[str]) -> list[str]:
    sure = [name for name in found if name.strip().casefold() in known[:SURE]]
    return sure[:1] or found


def _ask(flag: str, what: str, path: str, header: Sequence[str], alike: Sequence[str] = ()) -> str:
    got = f"{listed(alike)}, which differ only by case or blanks" if alike else "none"
    hint = ": separate columns by commas in .csv, by tabs in .tsv" if split_wrongly(header) else ""
    return f"{flag} must name {what} in {path}, got {got}; its columns are {listed(header)}{hint}"
