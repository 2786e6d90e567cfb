"""The best constant answer to a split, against scikit-learn's scores of all such answers."""

import pytest
import toy
from fairseq.data import Dictionary
from sklearn.metrics import accuracy_score, f1_score

from mixkd_plugin.data.labels import read_class_labels
from mixkd_plugin.tools.study.constant import constant_scores


@pytest.mark.parametrize("names", [("0", "1"), ("a", "b", "c")])
def test_classes(tmp_path, names):
    folder = toy.make_data(tmp_path / "data", {"train": 20, "valid": 37}, labels=names)
    (folder / "train_flags.txt").write_text(f"--num-classes {len(names)} --init-token 0")
    labels = Dictionary.load(str(folder / "label" / "dict.txt"))
    targets = read_class_labels(str(folder), "valid", labels, len(names), False, False)
    accuracy, mean = [], []
    for label in range(len(names)):
        same = [label] * len(targets)
        of = {"average": "binary" if len(names) == 2 else "macro", "zero_division": 0}
        accuracy.append(100 * accuracy_score(targets, same))
        mean.append((accuracy[-1] + 100 * f1_score(targets, same, **of)) / 2)
    wanted = {"accuracy": max(accuracy), "acc_and_f1": max(mean), "mcc": 0}
    wanted["pearson_and_spearman"] = 0
    assert constant_scores(folder, "valid") == pytest.approx(wanted)


@pytest.mark.parametrize(
    "flags, wanted",
    [
        ("--num-classes 1 --regression-target", {"pearson_and_spearman": 0, "mcc": 0}),
        ("--num-classes 3 --multi-label", {}),
    ],
)
def test_numbers_and_several_labels(tmp_path, flags, wanted):
    (tmp_path / "train_flags.txt").write_text(flags)
    assert constant_scores(tmp_path, "valid") == wanted
