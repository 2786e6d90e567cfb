"""Texts to a table of labels and probabilities, in batches, so that memory does not grow."""

import contextlib
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm import tqdm

from ...interop import quiet
from ..cli import named
from ..encode.sources import SEPARATOR
from ..output import work_folder
from ..texts.columns import choose_columns, text_is
from ..texts.examples import Example, Texts
from ..texts.files import STDIN, format_of
from ..texts.reading import Columns, Stream, stream_table
from .students import Student, of_hugging_face

BATCHES = 16  # that are sorted by length together


def predict(
    student: Student,
    path: str,
    out: str | None = None,
    kind: str | None = None,
    text: str | None = None,
    batch_size: int = 32,
) -> None:
    """Write the predictions of a file's texts to the file ``out``, atomically.

    Args:
        path: file of texts; - is standard input
        out: default: standard output
        kind: txt, csv, tsv or jsonl (default: by suffix)
        text: names of its one or two columns of texts (default: found by name)

    Raises:
        ValueError: for texts that cannot be read.
    """
    columns, texts = read_texts(path, kind, text)
    wanted, given = student.num_texts, max(1, len(columns))
    if wanted not in (None, given):
        raise ValueError(
            f"--text must name {wanted} column{'s' if wanted > 1 else ''}, as STUDENT was trained "
            f"on, got {given}{f' ({text_is(columns)})' if columns else ''}"
        )
    if path != STDIN:  # a bad line near the end is found before the work
        for _ in texts:
            pass
        _, texts = read_texts(path, kind, text)
    if columns and text is None:
        print(f"predict: {text_is(columns)}", file=sys.stderr)
    with output(out) as file:
        write = csv.writer(file, lineterminator="\n").writerow
        names = student.classes
        if names is None:
            several = student.outputs > 1
            write([f"value{i}" for i in range(student.outputs)] if several else ["value"])
        else:
            write(["label", *names])
        count = cut = 0
        with tqdm(unit=" texts", disable=None) as bar:
            while some := list(islice(texts, BATCHES * batch_size)):
                logits, were_cut = logits_of(student, some, batch_size)
                for row in _lines(student, logits):
                    write(row)
                count, cut = count + len(some), cut + were_cut
                bar.update(len(some))
        if count == 0:
            raise ValueError(f"{path} has no text")
    said = f", {cut} of them cut to {student.longest} tokens" if cut else ""
    print(f"predict: {count} texts{said}", file=sys.stderr)


def _lines(student: Student, logits: Tensor) -> Iterator[list[str]]:
    """A label, or several, and the probability of each class; the numbers of a regression."""
    names, values = student.classes, logits
    if names is not None:
        values = logits.sigmoid() if student.multi_label else logits.softmax(dim=1)
    for row in values.tolist():
        if names is None:
            label = []
        elif student.multi_label:
            label = [SEPARATOR.join(name for name, value in zip(names, row) if value > 0.5)]
        else:
            label = [names[row.index(max(row))]]
        yield [*label, *(f"{value:.7g}" for value in row)]


def logits_of(student: Student, texts: list[Texts], batch_size: int) -> tuple[Tensor, int]:
    """Logits (N, C) of texts, in batches of similar length, and how many texts were cut."""
    rows = student.encode(texts)
    order = sorted(range(len(rows)), key=lambda i: rows[i][1])
    parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    found = torch.cat([student.logits([rows[i][0] for i in part]) for part in parts])
    if not found.isfinite().all():
        raise ValueError(
            "STUDENT must give finite numbers, got nan or inf: export or train it again"
        )
    return found[torch.tensor(order).argsort()], sum(cut for _, _, cut in rows)


def count_predictions(
    folder: str, examples: Sequence[Example], classes: Sequence[str]
) -> np.ndarray:
    """Counts (classes, outputs) of the predictions of a Hugging Face classifier."""
    with quiet():
        student = of_hugging_face(folder, None, "cpu")
        logits, _ = logits_of(student, [e.texts for e in examples], 32)
    if student.multi_label:
        has = torch.tensor([[*map(int, e.label.split())] for e in examples])
        gets = (logits > 0).long()
    else:
        has = one_hot(torch.tensor([classes.index(e.label) for e in examples]), len(classes))
        gets = one_hot(logits.argmax(dim=1), logits.size(1))
    return (has.T @ gets).numpy()


def read_texts(path: str, kind: str | None, text: str | None) -> tuple[list[str], Iterator[Texts]]:
    """The names of a file's columns of texts (lines have none), and its texts, line by line."""
    with named("TEXTS", path):
        plain = path == STDIN or path.lower().endswith(".txt")
        kind = kind or ("txt" if plain else format_of(path))
        if kind == "txt" and text is not None:
            raise ValueError(f"--text must be left out with a text on each line, got {text}")

        def columns_of(names: list[str]) -> Columns:
            if kind == "txt":
                return Columns((0,), ())
            if not names:
                raise ValueError(f"{path}: the first line must be {kind}, and is not")
            return choose_columns(path, names, text, None, labelled=False)

        stream = stream_table(path, columns_of, kind, blank=True)
    return [stream.header[i] for i in stream.texts if stream.header], _texts_of(path, stream)


def _texts_of(path: str, stream: Stream) -> Iterator[Texts]:
    with named("TEXTS", path):
        for number, row in stream.rows:
            if isinstance(row, str):
                raise ValueError(f"{path}, line {number}: {row}")
            yield tuple(row[place] for place in stream.texts)


@contextlib.contextmanager
def output(out: str | None) -> Iterator:
    """A file that becomes ``out`` when its context ends without an error."""
    if out is None:
        yield sys.stdout
        return
    with work_folder(os.path.dirname(os.path.abspath(out)), ".predict-") as work:
        path = os.path.join(work, "predictions.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(path, out)
