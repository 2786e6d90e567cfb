"""What `mixkd predict` prints, and what transformers' pipeline says of the same texts."""

import csv
import io

import pytest
from exported import NEW_PAIRS

from mixkd_plugin.__main__ import main

LONG = ("the soup " * 60, "was cold")
PAIRS = [*NEW_PAIRS, ("", "the soup"), ("the soup", ""), LONG]


def write_table(path, pairs=PAIRS):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "sentence1", "sentence2"), *(
            (i, *pair) for i, pair in enumerate(pairs))])  # fmt: skip
    return str(path)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def predicted(capsys, *words):
    main(["predict", *map(str, words)])
    shown = capsys.readouterr()
    return read(shown.out), shown.err


def pipeline_of(transformers, folder, texts):
    classify = transformers.pipeline("text-classification", folder, top_k=None, truncation=True)
    inputs = [{"text": t[0], "text_pair": t[1]} if len(t) > 1 else t[0] for t in texts]
    return [{one["label"]: one["score"] for one in classify(text)} for text in inputs]


def check(rows, wanted):
    assert len(rows) == len(wanted)
    for row, scores in zip(rows, wanted):
        assert row["label"] == max(scores, key=scores.get)
        found = {name: float(row[name]) for name in scores}
        assert found == pytest.approx(scores, abs=1e-5)
