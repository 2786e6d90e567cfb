"""What metrics over a split cost, and that they are exact on any number of processes."""

import inprocess
import numpy as np
import pytest
import torch
import toy
from fairseq.logging import metrics as fairseq_metrics
from scores import CORRELATIONS, MIXUP, assert_logged, regression_scores
from sklearn.metrics import matthews_corrcoef
from toy import FINE_TUNE

from mixkd_plugin import scores
from mixkd_plugin.criterions import metrics

REGRESSION = ["--regression-target", *CORRELATIONS]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """37 validation examples: of 5 batches one process lacks one on 2 processes, and on 3."""
    folder = tmp_path_factory.mktemp("correlated") / "data"
    return toy.make_data(folder, {"train": 60, "valid": 37}, targets=2)


def test_processes_log_the_correlations_over_all_examples(tmp_path, data):
    """Every value is exchanged once: 37 rows of two targets, and none for a dummy batch."""
    flags = ["--num-classes", 2, *REGRESSION, *MIXUP, "--max-epoch", 1, "--batch-size-valid", 8]
    flags = toy.train_flags(data, tmp_path, *flags)
    records = [tmp_path / f"values{rank}" for rank in range(3)]
    logs = toy.processes(3, "logged_values", *([path, *flags] for path in records))
    assert_logged(logs[0], regression_scores(data, tmp_path / "checkpoint_last.pt"))
    targets = np.loadtxt(data / "label" / "valid.label", ndmin=2)
    for path in records:
        values = torch.cat(torch.load(path)).numpy()
        assert values.shape == (37, 4)
        assert sorted(values[:, 2:].tolist()) == sorted(targets.astype(np.float32).tolist())


def test_predictions_of_a_validation_are_in_no_checkpoint(tmp_path, data):
    """Correlations are made of every one; else files would grow with every validation."""
    flags = ["--num-classes", 2, *REGRESSION, *FINE_TUNE, "--lr", 0.005, "--max-epoch", 2]
    flags += ["--valid-subset", "valid,train", "--save-interval-updates", 3]
    toy.fit(data, tmp_path, *flags)
    log = toy.fit(data, tmp_path, *flags, "--max-epoch", 3)
    assert_logged(log, regression_scores(data, tmp_path / "checkpoint_last.pt"))
    for path in tmp_path.glob("*.pt"):
        saved = inprocess.checkpoint(tmp_path, path.name)["extra_state"]["metrics"]["valid"]
        kept = [(key, kind, state) for _, key, kind, state in saved if "tensor" in state]
        assert kept == [("_values", "ConcatTensorMeter", {"tensor": None})]


def test_an_epoch_whose_updates_were_all_skipped_has_no_counts():
    """fairseq resets meters, and an epoch of overflows adds nothing to them."""
    fairseq_metrics.reset()
    with fairseq_metrics.aggregate("epoch") as meters:
        read = metrics._accumulate("_counts", torch.tensor([1, 2]))
        assert read(meters).tolist() == [1, 2]
        fairseq_metrics.log_scalar("accuracy", 50.0, 2)
        metrics.log_f1(torch.tensor([1, 2]))
    fairseq_metrics.reset_meters("epoch")
    assert read(meters).tolist() == [0, 0]
    assert fairseq_metrics.get_smoothed_values("epoch")["acc_and_f1"] == 0


def test_a_splits_values_are_joined_once(monkeypatch):
    """Not once for each batch: a split of n batches would cost n * n."""
    joined = []
    cat = torch.cat

    def counted(parts, *args, **kwargs):
        joined.append(sum(len(part) for part in parts))
        return cat(parts, *args, **kwargs)

    fairseq_metrics.reset()
    with fairseq_metrics.aggregate() as meters:
        monkeypatch.setattr(torch, "cat", counted)
        for batch in torch.rand(500, 4, 2):
            metrics.log_correlations([batch])
        assert meters.get_smoothed_values()["pearson"] is not None
    assert sum(joined) <= 10 * 2000


def test_mcc_has_one_meter_that_a_checkpoint_keeps():
    """150 classes, saved and loaded after half of the batches."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(150, (900,), generator=generator)
    noise = torch.randint(150, (900,), generator=generator)
    predictions = torch.where(torch.rand(900, generator=generator) < 0.6, targets, noise)
    halves = list(zip(predictions.split(450), targets.split(450)))
    fairseq_metrics.reset()
    for number, (p, t) in enumerate(halves):
        with fairseq_metrics.aggregate("train"):
            for batch in zip(p.split(50), t.split(50)):
                metrics.log_mcc(scores.confusion_counts(*batch, 150))
        if number == 0:
            saved = fairseq_metrics.state_dict()
            assert len(saved["train"]) == 1
            fairseq_metrics.reset()
            fairseq_metrics.load_state_dict(saved)
    expected = round(100 * matthews_corrcoef(targets, predictions), 1)
    assert fairseq_metrics.get_smoothed_values("train")["mcc"] == expected
