"""What a model would score that gives all texts of a split the same label."""

from pathlib import Path

import torch
from fairseq.data import Dictionary

from ...data.labels import read_class_labels
from ...fingerprints import class_names
from ...scores import classes_of_f1, confusion_counts, f1_counts, f1_score


def constant_scores(data: Path, split: str) -> dict[str, float]:
    """The best such score of each measure, in percent; none for several labels."""
    flags = (data / "train_flags.txt").read_text().split()
    if "--multi-label" in flags:
        return {}
    scores = {"pearson_and_spearman": 0.0, "mcc": 0.0}
    if "--regression-target" in flags:
        return scores
    labels = Dictionary.load(str(data / "label" / "dict.txt"))
    names = class_names(labels)
    targets = torch.from_numpy(
        read_class_labels(str(data), split, labels, len(names), False, False)
    )
    for label in range(len(names)):
        confusion = confusion_counts(torch.full_like(targets, label), targets, len(names))
        accuracy = 100 * (targets == label).double().mean().item()
        f1 = 100 * f1_score(f1_counts(confusion, classes_of_f1(names)).numpy())
        for key, score in (("accuracy", accuracy), ("acc_and_f1", (accuracy + f1) / 2)):
            scores[key] = max(scores.get(key, 0.0), score)
    return scores
