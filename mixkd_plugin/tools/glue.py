"""GLUE's files: which columns hold what, how each task is judged, and reading them with checks."""

import os
from typing import List, NamedTuple, Optional, Tuple, Union

Column = Union[str, int]  # by name, or by position where the file has no header line


class GlueTask(NamedTuple):
    texts: Tuple[Column, ...]  # one, or the two of a pair
    label: Column
    labels: Optional[Tuple[str, ...]]  # classes in the order of their indices; None: regression
    flags: str = ""  # of fairseq-train, for the metrics by which GLUE judges the task
    valid: Tuple[str, ...] = ("dev.tsv",)  # become the splits valid, valid1


class Example(NamedTuple):
    texts: Tuple[str, ...]
    label: str  # as parse_label has it


class Table(NamedTuple):
    """A file's lines in fields, and which of them matter."""

    path: str
    header: List[str]  # empty where the file has none
    lines: List[Tuple[int, List[str]]]  # (line number in the file, fields)
    texts: Tuple[int, ...]
    label: int
    bad: int  # lines with missing fields, left out

    def where(self, number: int) -> str:
        return f"{self.path}, line {number}"


BINARY, ENTAILMENT = ("0", "1"), ("entailment", "not_entailment")
F1, MCC = "--report-acc-and-f1", "--report-mcc"
CORRELATION = "--regression-target --report-pearson-and-spearman"
TASKS = {
    "CoLA": GlueTask((3,), 1, BINARY, MCC),
    "MNLI": GlueTask(
        ("sentence1", "sentence2"),
        "gold_label",
        ("contradiction", "neutral", "entailment"),  # as in fairseq's public roberta.large.mnli
        valid=("dev_matched.tsv", "dev_mismatched.tsv"),
    ),
    "MRPC": GlueTask(("#1 String", "#2 String"), "Quality", BINARY, F1),
    "QNLI": GlueTask(("question", "sentence"), "label", ENTAILMENT),
    "QQP": GlueTask(("question1", "question2"), "is_duplicate", BINARY, F1),
    "RTE": GlueTask(("sentence1", "sentence2"), "label", ENTAILMENT),
    "SST-2": GlueTask(("sentence",), "label", BINARY),
    "STS-B": GlueTask(("sentence1", "sentence2"), "score", None, CORRELATION),
}
NO_CLASS, NO_SCORE = "<unk>", "nan"  # what the task takes for no gold label
MAX_SCORE = 5.0  # of STS-B; fairseq's GLUE recipe divides by it, and so do we


def read_examples(
    path: str, task: GlueTask, skip_bad_lines: bool, unlabelled: bool = False
) -> Tuple[List[Example], int]:
    """The examples of a file, and how many lines were left out.

    Raises:
        ValueError: as :func:`read_table`, and for an empty label (unless ``unlabelled``) or an
            unknown one.
    """
    table = read_table(path, task, skip_bad_lines)
    examples = [
        Example(
            tuple(fields[c] for c in table.texts),
            parse_label(fields[table.label], task, table.where(number), unlabelled),
        )
        for number, fields in table.lines
    ]
    return examples, table.bad


def read_table(path: str, task: GlueTask, skip_bad_lines: bool) -> Table:
    """A file as it is, with the task's columns found.

    Fields are split at tabs and nothing else: a quotation mark is a character of the text, as with
    csv.QUOTE_NONE.

    Raises:
        ValueError: naming file and line, for a missing file or column, or a wrong number of fields
            (unless ``skip_bad_lines``).
    """
    lines, header = _read_lines(path), []
    if isinstance(task.label, str):
        header, first = lines.pop(0), 2
        missing = [c for c in (*task.texts, task.label) if c not in header]
        if missing:
            raise ValueError(f"{path}: no column {', '.join(missing)}, only {', '.join(header)}")
        *texts, label = (header.index(c) for c in (*task.texts, task.label))
        width = len(header)
    else:
        texts, label, first, width = task.texts, task.label, 1, len(lines[0])
        if max(*texts, label) >= width:
            raise ValueError(f"{path}: {width} fields a line, {max(*texts, label) + 1} are needed")

    kept = []
    for number, fields in enumerate(lines, first):
        if len(fields) == width:
            kept.append((number, fields))
        elif not skip_bad_lines:
            raise ValueError(
                f"{path}, line {number}: {len(fields)} fields where the first line has {width} "
                "(--skip-bad-lines leaves such lines out)"
            )
    if not kept:
        raise ValueError(f"{path} holds no example")
    return Table(path, header, kept, tuple(texts), label, bad=len(lines) - len(kept))


def _read_lines(path: str) -> List[List[str]]:
    if not os.path.isfile(path):
        raise ValueError(f"no file {path}")
    try:
        # MRPC begins with a byte-order mark; newline keeps a stray \r inside a text from ending it
        with open(path, encoding="utf-8-sig", newline="\n") as f:
            lines = [line.rstrip("\r\n").split("\t") for line in f]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines


def parse_label(label: str, task: GlueTask, where: str, unlabelled: bool = False) -> str:
    """A label of the file as it is written to the data folder: a class, or a score in [0, 1].

    An empty one, where ``unlabelled`` allows it, is an example without a label.
    """
    label = label.strip()
    if not label:
        if unlabelled:
            return NO_SCORE if task.labels is None else NO_CLASS
        raise ValueError(
            f"{where}: empty label (GLUE's test files have none; in train.tsv alone, --unlabelled "
            "takes it for an example without one)"
        )
    if task.labels is not None:
        if label not in task.labels:
            raise ValueError(f"{where}: label {label!r}; allowed: {', '.join(task.labels)}")
        return label
    try:
        score = float(label)
    except ValueError:
        raise ValueError(f"{where}: the score {label!r} is not a number") from None
    if not 0 <= score <= MAX_SCORE:
        raise ValueError(f"{where}: score {label}; allowed: 0 to {MAX_SCORE:g}")
    return repr(score / MAX_SCORE)
