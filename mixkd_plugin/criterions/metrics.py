"""Metrics over a full split, from logged values that add up over batches and processes.

Logged values are kept in meters whose names begin with ``_`` and so are not displayed.
"""

import math
from collections import OrderedDict
from typing import Any, Dict, List, Optional, Sequence, Set

import numpy as np
import torch
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.logging import meters, metrics
from fairseq.logging.meters import safe_round
from torch import Tensor

from .. import scores
from ..losses import TERMS


class WithMetrics(SentencePredictionCriterion):
    """fairseq's criterion, with metrics of its own."""

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.report_average_precision = cfg.report_average_precision
        self.num_classes = task.cfg.num_classes
        self.multi_label = task.cfg.multi_label
        if not self.regression_target:
            labels = task.label_dictionary
            names = labels.symbols[labels.nspecial : labels.nspecial + self.num_classes]
            self.f1_classes = scores.classes_of_f1(names)

    def validation_metrics(self) -> Set[str]:
        """Names of the values logged in validation, for --best-checkpoint-metric.

        A subclass, or a task, that logs more extends them.
        """
        teacher, regression = bool(self.task.cfg.teacher_path), self.regression_target
        logged = {
            "loss mle_loss wps wpb bsz num_updates": True,
            "kd_loss": teacher,
            "accuracy": not regression,
            "teacher_accuracy agreement": teacher and not regression,
            "ece": not (regression or self.multi_label),
            "micro_f1 macro_f1": self.multi_label,
            "mean_average_precision": self.report_average_precision,
            "mcc": self.report_mcc,
            "f1 acc_and_f1": self.report_acc_and_f1,
            "pearson spearman pearson_and_spearman": self.report_pearson_and_spearman,
        }
        return {name for names, is_logged in logged.items() if is_logged for name in names.split()}

    def batch_values(
        self,
        logits: Tensor,
        teacher_logits: Optional[Tensor],
        targets: Tensor,
        mask: Optional[Tensor],
        training: bool,
    ) -> Dict[str, Tensor]:
        """The inputs of metrics: sums, and for correlations and average precision every value.

        Args:
            logits, teacher_logits: (B, C); None without a teacher
            targets: classes (B,), or values (B, C) of regression or labels
            mask: (B,) the examples with a label; None: all
        """
        if self.regression_target:
            if training or not self.report_pearson_and_spearman:
                return {}
            return {"values": scores.correlation_values(logits, targets, mask)}
        predictions = scores.predict(logits, self.multi_label)
        output = {"ncorrect": scores.count(scores.equal_rows(predictions, targets), mask)}
        if self.multi_label:
            output["label_counts"] = scores.label_counts(predictions, targets, mask)
            if self.report_average_precision and not training:
                output["scores"] = scores.correlation_values(logits, targets, mask)
        elif not training:
            output["calibration"] = scores.calibration_gaps(logits, targets, mask)
        if self.report_mcc or self.report_acc_and_f1:
            confusion = scores.confusion_counts(predictions, targets, self.num_classes, mask)
            if self.report_mcc:
                output["confusion"] = confusion
            if self.report_acc_and_f1:
                output["f1_counts"] = scores.f1_counts(confusion, self.f1_classes)
        if teacher_logits is not None:
            taught = scores.predict(teacher_logits, self.multi_label)
            output["teacher_ncorrect"] = scores.count(scores.equal_rows(taught, targets), mask)
            output["agreed"] = scores.count(scores.equal_rows(predictions, taught))
        return output

    def logging_outputs_can_be_summed(self) -> bool:
        """False if a validation logs every value: processes then exchange them without sums."""
        return self.training or not (
            self.report_pearson_and_spearman or self.report_average_precision
        )

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[Dict[str, Any]]) -> None:
        """Log means over all examples, in fairseq's units: losses in bits, shares in percent.

        Every loss is divided by log 2, squared errors too, as fairseq does: the logged terms times
        their weights add up to the logged loss.
        """
        logged = {key for output in logging_outputs for key in output}

        def total(key):
            return sum(output[key] for output in logging_outputs if key in output)

        sample_size, sentences = total("sample_size"), total("nsentences")
        terms = [f"{term}_loss" for term in TERMS]
        terms += sorted(key for key in logged if key.endswith("_loss") and key not in terms)
        sizes = dict.fromkeys(["loss", *terms], sample_size)
        if "mle_size" in logged:  # a validation's are of the labelled, as its other figures
            sizes["loss"] = sizes["mle_loss"] = total("mle_size")
        for key, size in sizes.items():
            if key in logged:
                metrics.log_scalar(key, total(key) / size / math.log(2), size, round=3)
        labelled = total("nlabelled") if "nlabelled" in logged else sentences
        shares = {
            "accuracy": ("ncorrect", labelled),
            "teacher_accuracy": ("teacher_ncorrect", labelled),
            "agreement": ("agreed", sentences),
        }
        for key, (count, rows) in shares.items():
            if count in logged:  # without examples: nan, of weight 0
                metrics.log_scalar(key, 100.0 * total(count) / rows, rows, round=1)
        if "calibration" in logged:
            log_ece(total("calibration"), labelled)
        of_counts = {"confusion": log_mcc, "f1_counts": log_f1, "label_counts": log_label_f1}
        for key, log in of_counts.items():
            if key in logged:
                log(total(key))
        for key, log in {"scores": log_average_precision, "values": log_correlations}.items():
            if key in logged:
                log([output[key] for output in logging_outputs if key in output])


class ConcatTensorMeter(meters.ConcatTensorMeter):
    """fairseq's, but in linear time, and without values in checkpoints.

    Checkpoints have a meter's class by name, and load fairseq's own.
    """

    def reset(self) -> None:
        self._parts: List[Tensor] = []

    def update(self, val: Tensor) -> None:
        self._parts.append(val)

    @property
    def tensor(self) -> Tensor:
        return torch.cat(self._parts, dim=self.dim)

    def state_dict(self) -> dict:
        return {"tensor": None}


def log_ece(gaps: Tensor, rows: int) -> None:
    """Add a batch's :func:`scores.calibration_gaps`; log the ECE of all so far, in percent."""
    total = _accumulate("_calibration", gaps)
    metrics.log_scalar("_calibration_rows", float(rows))
    _log_percent("ece", lambda m: np.abs(total(m)).sum() / max(m["_calibration_rows"].sum, 1))


def log_mcc(confusion: Tensor) -> None:
    """Add a batch's (C * C,) counts; log the Matthews correlation of all so far, in percent."""
    size = math.isqrt(len(confusion))
    total = _accumulate("_confusion", confusion)
    _log_percent("mcc", lambda m: scores.matthews_corrcoef(total(m).reshape(size, size)))


def log_f1(counts: Tensor) -> None:
    """Add a batch's :func:`scores.f1_counts`; log F1 of all so far, and its mean with accuracy."""
    total = _accumulate("_f1_counts", counts)
    _log_percent("f1", lambda m: scores.f1_score(total(m)))

    def accuracy(m):  # None in an epoch without an update
        return float(m["accuracy"].avg or 0) / 100

    _log_percent("acc_and_f1", lambda m: (accuracy(m) + scores.f1_score(total(m))) / 2)


def log_label_f1(counts: Tensor) -> None:
    """Add a batch's `scores.label_counts`; log micro and macro F1 of all so far, in percent."""
    total = _accumulate("_label_counts", counts)
    _log_percent("micro_f1", lambda m: scores.micro_f1_score(total(m)))
    _log_percent("macro_f1", lambda m: scores.f1_score(total(m)))


def log_average_precision(values: List[Tensor]) -> None:
    """Add `scores.correlation_values` of batches; log the mean average precision, in percent."""
    known = _collect("_scores", values)
    _log_percent("mean_average_precision", lambda m: scores.mean_average_precision(known(m)))


def log_correlations(values: List[Tensor]) -> None:
    """Add `scores.correlation_values` of batches; log correlations over all so far, in percent."""
    known = _collect("_values", values)

    def score(m, *kinds):
        return sum(kind(known(m)) for kind in kinds) / len(kinds)

    _log_percent("pearson", lambda m: score(m, scores.pearson))
    _log_percent("spearman", lambda m: score(m, scores.spearman))
    _log_percent("pearson_and_spearman", lambda m: score(m, scores.pearson, scores.spearman))


def _collect(name: str, values: List[Tensor]):
    """Add all values to the meter ``name``; return a function that reads them, in float64."""
    for aggregator in metrics.get_active_aggregators():
        if name not in aggregator:
            aggregator.add_meter(name, ConcatTensorMeter(), 10)
        elif not isinstance(aggregator[name], ConcatTensorMeter):  # of a checkpoint
            OrderedDict.__setitem__(aggregator, name, ConcatTensorMeter())
        aggregator[name].update(torch.cat(values).cpu())
    return lambda m: m[name].tensor.double().numpy()  # scipy sums in the type of its input


def _accumulate(name: str, counts: Tensor):
    """Add counts to the meter ``name``; return a function that reads their sums."""
    counts = counts.double().cpu()
    metrics.log_scalar(name, counts)
    zeros = torch.zeros_like(counts)  # the sum of an epoch without an update is the number 0
    return lambda m: (m[name].sum + zeros).numpy()


def _log_percent(name: str, score) -> None:
    metrics.log_derived(name, lambda m: safe_round(100 * score(m), 1))
