"""Metrics of a checkpoint by scikit-learn and scipy, one example at a time."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import toy
from fairseq import checkpoint_utils
from toy import HEAD

LEARN = ["--max-epoch", 10, "--validate-interval", 10, "--lr", 0.005, "--dropout", 0]
MIXUP = ["--sm-weight", 1, "--tmkd-weight", 0]
TEXTS = ("poor", "fair", "good")
REPORT = ["--report-mcc", "--report-acc-and-f1"]
CORRELATIONS = ["--report-pearson-and-spearman"]


def predictions(checkpoint, data, split="valid"):
    """Logits of a split, one example at a time from its text, without dataset or batches."""
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
    model.eval()
    rows = []
    for line in (data / "raw" / f"{split}.text").read_text().splitlines():
        tokens = task.dictionary.encode_line(line, add_if_not_exist=False, append_eos=True)
        with torch.no_grad():
            tokens = torch.cat([torch.tensor([0]), tokens.long()])
            rows.append(model(tokens[None], classification_head_name=HEAD)[0][0])
    return torch.stack(rows).numpy()


def raw_labels(data, names, split="valid"):
    return [names.index(n) for n in (data / "raw" / f"{split}.label").read_text().split()]


def raw_targets(data, split="valid"):
    return np.loadtxt(data / "label" / f"{split}.label", ndmin=2)


def classification_scores(data, names, checkpoint):
    predicted, gold = predictions(checkpoint, data).argmax(1), raw_labels(data, names)
    assert len(gold) < 30 or len(set(predicted)) == len(names)  # else scores say little
    f1 = dict(average="macro") if len(names) > 2 else {}
    if len(names) == 2:
        f1 = dict(pos_label=names.index("1"))
    return {
        "accuracy": sklearn.metrics.accuracy_score(gold, predicted),
        "f1": sklearn.metrics.f1_score(gold, predicted, **f1),
        "mcc": sklearn.metrics.matthews_corrcoef(gold, predicted),
    }


def regression_scores(data, checkpoint):
    columns = list(zip(predictions(checkpoint, data).T, raw_targets(data).T))
    return {
        name: np.mean([score(p, t)[0] for p, t in columns])
        for name, score in (
            ("pearson", scipy.stats.pearsonr), ("spearman", scipy.stats.spearmanr),
        )
    }  # fmt: skip


def multi_label_scores(logits, gold):
    chosen, nan = logits > 0, {"zero_division": np.nan}
    return {
        "accuracy": sklearn.metrics.accuracy_score(gold, chosen),
        "mean_average_precision": sklearn.metrics.average_precision_score(gold, logits),
        "micro_f1": sklearn.metrics.f1_score(gold, chosen, average="micro", **nan),
        "macro_f1": sklearn.metrics.f1_score(gold, chosen, average="macro", **nan),
    }


def assert_logged(log, scores, kind="valid"):
    logged = toy.last_values(log, kind)
    for name, score in scores.items():
        assert logged[name] == pytest.approx(100 * score, abs=0.051), name
