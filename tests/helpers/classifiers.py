"""Small Hugging Face classifiers, and tables of texts with the labels that they mostly give."""

import csv
import json
import random
from pathlib import Path
from typing import NamedTuple

import hf_encoders
import hf_families
import hf_models
import pytest
import torch

from mixkd_plugin.models.hf_parts import names_of_parts

WORDS = [word for word in " ".join(hf_models.CORPUS).split() if word.isascii()]
ERRORS = 0.15  # share of labels that differ from the classifier's


class Case(NamedTuple):
    """A classifier, and train.csv and dev.csv for it."""

    folder: Path
    teacher: Path
    train: Path
    dev: Path
    answers: list  # the teacher's classes of the dev set, or its scores
    labels: list  # of the dev set


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
    if kind in hf_models.KINDS:
        hf_models.make(kind, folder / "hf", transformers, **config)
    else:
        config["max_position_embeddings"] = 99
        cut = hf_families.write_family(kind, folder / "hf", transformers, hf_models.CORPUS)
        hf_encoders.write_classifier(kind, folder / "hf", transformers, tokenizer=cut, **config)
    if names:
        path = folder / "hf" / "config.json"
        settings = json.loads(path.read_text())
        settings["id2label"] = dict(enumerate(names))
        settings["label2id"] = {name: i for i, name in enumerate(names)}
        path.write_text(json.dumps(settings))
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
        paths[name] = folder / f"{name}.csv"
        with open(paths[name], "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *([*t, label] for t, label, _ in part)])
    dev = rows[sizes[0] : sum(sizes)]
    return Case(folder, folder / "hf", *paths.values(), [r[2] for r in dev], [r[1] for r in dev])


def make_equally_frequent(folder: Path, logits: torch.Tensor, transformers) -> torch.Tensor:
    """Change the bias of a classifier so that it gives each class as often, by so much."""
    safetensors = pytest.importorskip("safetensors.torch")
    shift, spread = -logits.mean(0), logits.std(0).max()
    for _ in range(100):
        found = torch.nn.functional.one_hot((logits + shift).argmax(1), len(shift))
        shift -= spread * (found.double().mean(0) - 1 / len(shift)).float()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    weights = safetensors.load_file(folder / "model.safetensors")
    weights[f"{names_of_parts(model).last}.bias"] += shift
    safetensors.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return shift


@torch.no_grad()
def logits_of(folder: Path, texts, transformers) -> torch.Tensor:
    """By transformers alone, one text or pair at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return torch.cat([model(**tokenizer(*t, return_tensors="pt")).logits for t in texts])
