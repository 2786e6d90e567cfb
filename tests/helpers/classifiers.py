"""Small Hugging Face classifiers, and tables of texts with the labels that they mostly give."""

import random
from pathlib import Path
from typing import NamedTuple

import hf_encoders
import hf_families
import hf_models
import pytest
import torch
from encode_files import write

from mixkd_plugin.models.hf_parts import names_of_parts

WORDS = [word for word in " ".join(hf_models.CORPUS).split() if word.isascii()]
ERRORS = 0.15  # share of labels that differ from the classifier's


class Case(NamedTuple):
    """A classifier, and train.csv and dev.csv for it."""

    teacher: Path
    train: Path
    dev: Path
    answers: list  # the teacher's classes of the dev set, or its scores
    labels: list  # of the dev set


def write_model(kind: str, folder: Path, transformers, **config) -> None:
    if kind in hf_models.KINDS:
        hf_models.make(kind, folder, transformers, **config)
    else:
        cut = hf_families.write_family(kind, folder, transformers, hf_models.CORPUS)
        config["max_position_embeddings"] = 99
        hf_encoders.write_classifier(kind, folder, transformers, tokenizer=cut, **config)


def make_case(
    folder: Path, transformers, kind="bert", names=None, said=None, pairs=False, sizes=(120, 60),
    **config,
) -> Case:  # fmt: skip
    """
    names: id2label of the classifier (default: none of its own)
    said: the data's names of the outputs (default: ``names``, or numbers); one: a regression
    """
    folder.mkdir(parents=True)
    outputs = len(names or said or "ab")
    config["num_labels"] = outputs
    write_model(kind, folder / "hf", transformers, **config)
    if names:
        hf_models.change(
            folder / "hf" / "config.json", id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
        )  # fmt: skip
    rng = random.Random(0)
    longest = 4 if pairs else 9
    texts = [
        tuple(" ".join(rng.choices(WORDS, k=rng.randint(2, longest))) for _ in range(1 + pairs))
        for _ in range(12 * sum(sizes))
    ]
    logits = logits_of(folder / "hf", texts, transformers)
    if outputs > 1:
        logits += make_equally_frequent(folder / "hf", logits, transformers)
    said = said or names or [str(i) for i in range(outputs)]
    if outputs == 1:
        rows = [
            (t, f"{v + rng.gauss(0, 0.1):.3f}", v) for t, v in zip(texts, logits[:, 0].tolist())
        ]
    else:
        found = logits.argmax(1).tolist()
        each = sum(sizes) // outputs
        rows = []
        for c in range(outputs):
            of_it = [t for t, f in zip(texts, found) if f == c]
            assert len(of_it) >= each, (c, len(of_it))
            for text in of_it[:each]:
                wrong = rng.random() < ERRORS
                rows.append((text, said[(c + wrong) % outputs], c))
        rng.shuffle(rows)
    paths = {}
    columns = ["premise", "hypothesis", "label"] if pairs else ["sentence", "label"]
    for name, part in (("train", rows[: sizes[0]]), ("dev", rows[sizes[0] : sum(sizes)])):
        lines = [(*texts, label) for texts, label, _ in part]
        paths[name] = write(folder / f"{name}.csv", columns, lines)
    dev = rows[sizes[0] : sum(sizes)]
    return Case(folder / "hf", *paths.values(), [r[2] for r in dev], [r[1] for r in dev])


def make_multi_label_case(
    folder: Path, transformers, names, form="list", kind="bert", sizes=(60, 40)
) -> Case:
    """A classifier of several labels for a text, and its tables.

    Args:
        form: of the labels: a ``list`` in JSON lines; in CSV, ``names`` with ; between, or
            ``columns`` of 0 and 1

    ``answers`` of the case are the teacher's logits, ``labels`` the lists of names.
    """
    folder.mkdir(parents=True)
    config = {"num_labels": len(names), "problem_type": "multi_label_classification"}
    write_model(kind, folder / "hf", transformers, **config)
    hf_models.change(folder / "hf" / "config.json", id2label=dict(enumerate(names)))
    rng = random.Random(0)
    texts = [(" ".join(rng.choices(WORDS, k=rng.randint(2, 9))),) for _ in range(sum(sizes))]
    logits = logits_of(folder / "hf", texts, transformers)
    shift = -logits.quantile(0.6, dim=0)  # each class for four of ten texts
    add_to_bias(folder / "hf", shift, transformers)
    logits += shift
    labels = [
        [name for name, value in zip(names, row) if (value > 0) != (rng.random() < ERRORS / 3)]
        for row in logits.tolist()
    ]
    paths = {}
    for split, part in (("train", slice(sizes[0])), ("dev", slice(sizes[0], None))):
        rows = list(zip(texts[part], labels[part]))
        paths[split] = folder / f"{split}.{'jsonl' if form == 'list' else 'csv'}"
        if form == "list":
            table = ["text", "labels"], [(text, its) for (text,), its in rows]
        elif form == "columns":
            table = ["text", *names], [(t, *(int(n in i) for n in names)) for (t,), i in rows]
        else:
            table = ["text", "label"], [(text, ";".join(its)) for (text,), its in rows]
        write(paths[split], *table)
    dev = slice(sizes[0], None)
    return Case(folder / "hf", *paths.values(), logits[dev], labels[dev])


def make_equally_frequent(folder: Path, logits: torch.Tensor, transformers) -> torch.Tensor:
    """Change the bias of a classifier so that it gives each class as often, by so much."""
    shift, spread = -logits.mean(0), logits.std(0).max()
    for _ in range(100):
        found = torch.nn.functional.one_hot((logits + shift).argmax(1), len(shift))
        shift -= spread * (found.double().mean(0) - 1 / len(shift)).float()
    add_to_bias(folder, shift, transformers)
    return shift


def add_to_bias(folder: Path, shift: torch.Tensor, transformers) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    weights = safetensors.load_file(folder / "model.safetensors")
    weights[f"{names_of_parts(model).last}.bias"] += shift
    safetensors.save_file(weights, folder / "model.safetensors", {"format": "pt"})


@torch.no_grad()
def logits_of(folder: Path, texts, transformers) -> torch.Tensor:
    """By transformers alone, one text or pair at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return torch.cat([model(**tokenizer(*t, return_tensors="pt")).logits for t in texts])
