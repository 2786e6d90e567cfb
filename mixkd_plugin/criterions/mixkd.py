"""The loss: four terms in one formula (MixKD, section 3; Liang et al., ICLR 2021).

L = w_mle L_MLE + w_kd L_KD + w_sm L_SM + w_tmkd L_TMKD
"""

import math
from typing import Any, Dict, NamedTuple, Optional, Set, Tuple

from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.logging import metrics
from omegaconf import OmegaConf
from torch import Tensor

from ..fairseq_fixes.refused_flags import check_best_metric
from ..losses import (
    TERMS,
    LossWeights,
    binary_cross_entropy,
    cross_entropy,
    distance,
    labelled_rows,
    squared_error,
    zero_unless,
)
from ..mixup import Mix, mix_targets
from ..tasks.flags import check_criterion_flags, check_distance
from ..tasks.mixkd_sentence_prediction import MixKDSentencePredictionTask
from . import metrics as quality
from .config import MixKDCriterionConfig


class Labels(NamedTuple):
    """Labels of R sequences.

    targets: class indices (R,), or regression targets or several labels (R, C); 0 without a label
    labelled_mask: (R,) True with a label; None: all have one
    """

    targets: Tensor
    labelled_mask: Optional[Tensor]


@register_criterion("mixkd", dataclass=MixKDCriterionConfig)
class MixKDCriterion(SentencePredictionCriterion):
    """Weighted sum of the four terms, each summed over sequences; the sample size is fairseq's.

    A mixed term is divided by the number of mixes per example, so that its weight means the
    same for any ``--mixup-ratio``. An example without a label adds nothing to L_MLE, nor to
    L_SM as example or partner, and counts in the sample size like any other: a batch's loss stays
    the sum of its examples'. In evaluation the loss is L_MLE, whatever the weights: it needs no
    teacher and compares between runs.
    """

    def __init__(self, cfg: MixKDCriterionConfig, task):
        if not isinstance(task, MixKDSentencePredictionTask):
            raise ValueError(
                "--criterion mixkd needs --task mixkd_sentence_prediction, or one that extends it, "
                f"got --task {task.cfg._name}"
            )
        if not OmegaConf.is_config(cfg):
            cfg = OmegaConf.structured(cfg)
        check_criterion_flags(cfg, task.cfg.mixup_ratio, task.cfg.multi_label)
        if task.trains:
            check_distance(cfg)
        super().__init__(cfg, task)
        self.weights = LossWeights(*(cfg[f"{term}_weight"] for term in TERMS))
        self.distance = str(cfg.distill_distance)
        self.temperature = cfg.distill_temperature
        self.report_mcc = cfg.report_mcc
        self.report_acc_and_f1 = cfg.report_acc_and_f1
        self.report_pearson_and_spearman = cfg.report_pearson_and_spearman
        self.report_average_precision = cfg.report_average_precision
        self.num_classes = task.cfg.num_classes
        self.multi_label = task.cfg.multi_label
        self.unlabelled = task.cfg.unlabelled_examples == "allow"
        if not self.regression_target:
            labels = task.label_dictionary
            names = labels.symbols[labels.nspecial : labels.nspecial + self.num_classes]
            self.f1_classes = quality.classes_of_f1(names)
        task.declare_weights(self.weights)
        if task.trains:
            check_best_metric(self)

    def validation_metrics(self) -> Set[str]:
        """Names of the values logged in validation, for --best-checkpoint-metric.

        A subclass, or a task, that logs more extends them.
        """
        names = {"loss", "mle_loss", "wps", "wpb", "bsz", "num_updates"}
        if self.task.cfg.teacher_path:
            names.add("kd_loss")
        if self.regression_target:
            if self.report_pearson_and_spearman:
                names |= {"pearson", "spearman", "pearson_and_spearman"}
            return names
        names.add("accuracy")
        if self.task.cfg.teacher_path:
            names |= {"teacher_accuracy", "agreement"}
        names |= {"micro_f1", "macro_f1"} if self.multi_label else {"ece"}
        if self.report_average_precision:
            names.add("mean_average_precision")
        if self.report_mcc:
            names.add("mcc")
        if self.report_acc_and_f1:
            names |= {"f1", "acc_and_f1"}
        return names

    def forward(self, model, sample, reduce=True):
        """Loss summed over the batch, fairseq's sample size, and the values to log.

        A batch of the task has ``mix``, where the loss has mixed terms, and ``teacher_logits`` of
        its examples and of its ``partner``, where a term or a metric needs them.
        """
        training = model.training
        mix = sample.get("mix") if training else None
        labels, mixed_labels = self._labels(sample), None
        if mix is not None:
            mixed_labels = self._mixed_labels(labels, self._labels(sample["partner"]), mix.lam)
        clean, mixed = self._student_logits(model, sample["net_input"], mix)
        logging_output = {}
        if clean is not None:
            logging_output = self._statistics(clean, sample.get("teacher_logits"), labels, training)
        extra = self.extra_terms(sample, clean, mixed) if training else {}
        losses = self._losses(sample, clean, mixed, labels, mixed_labels)
        loss = sum(extra.values(), self._weighted_sum(losses)) if training else losses["mle"]
        losses.update(extra)
        if self.unlabelled:
            logging_output["nlabelled"] = sample["nlabelled"]
        # fairseq's is the number of targets; the loss of several labels is a mean over classes
        sample_size = len(labels.targets) if self.multi_label else labels.targets.numel()
        logging_output.update({f"{term}_loss": value.data for term, value in losses.items()})
        logging_output.update(
            loss=loss.data,
            ntokens=sample["ntokens"],
            nsentences=sample["id"].numel(),
            sample_size=sample_size,
        )
        return loss, sample_size, logging_output

    def _losses(
        self,
        sample: Dict[str, Any],
        clean: Optional[Tensor],
        mixed: Optional[Tensor],
        labels: Labels,
        mixed_labels: Optional[Labels],
    ) -> Dict[str, Tensor]:
        """The terms for which the batch has all inputs, without their weights."""
        losses = {}
        if clean is not None:
            losses["mle"] = self._label_loss(clean, labels)
            if "teacher_logits" in sample:
                losses["kd"] = self._distance(clean, sample["teacher_logits"])
        if mixed is not None:
            partner, ratio = sample["partner"], len(mixed) // len(sample["id"])
            losses["sm"] = self._label_loss(mixed, mixed_labels) / ratio
            if "teacher_logits" in partner:
                losses["tmkd"] = self._distance(mixed, partner["teacher_logits"]) / ratio
        return losses

    def _weighted_sum(self, losses: Dict[str, Tensor]) -> Tensor:
        weights = {term: weight for term, weight in self.weights._asdict().items() if weight > 0}
        missing = weights.keys() - losses.keys()
        if missing:
            raise ValueError(
                f"{self.weights.flags(*missing)}: the batch has no mixes or no teacher logits; "
                "train by the task's train_step, after begin_epoch"
            )
        return sum(weight * losses[term] for term, weight in weights.items())

    def extra_terms(
        self, sample: Dict[str, Any], clean: Optional[Tensor], mixed: Optional[Tensor]
    ) -> Dict[str, Tensor]:
        """More terms of the training loss, by name, for criteria that extend this one.

        Each is a sum over sequences, with its weight; it is logged as ``NAME_loss``.

        Args:
            clean, mixed: the student's logits (R, C); None if the loss needs none
        """
        return {}

    def _student_logits(
        self, model, net_input, mix: Optional[Mix]
    ) -> Tuple[Optional[Tensor], Optional[Tensor]]:
        """Logits of the clean examples (B, C) and of the mixes (M, C); None if not computed."""
        arguments = {}
        if mix is not None:
            tokens, of_model = mix.model_input(net_input["src_tokens"])
            net_input = {**net_input, "src_tokens": tokens}
            if of_model is None:
                net_input["src_lengths"] = tokens.ne(mix.pad).sum(dim=1)
            else:
                arguments["mix"] = of_model
        logits, _ = model(
            **net_input,
            features_only=True,
            classification_head_name=self.classification_head_name,
            **arguments,
        )
        return (logits, None) if mix is None else mix.split_logits(logits)

    def _labels(self, sample) -> Labels:
        of_classes = not (self.regression_target or self.multi_label)
        targets = sample["target"].view((-1,) if of_classes else (-1, self.num_classes))
        if not of_classes:
            targets = targets.float()
        mask = labelled_rows(targets) if self.unlabelled else None
        return Labels(zero_unless(mask, targets), mask)

    def _mixed_labels(self, labels: Labels, partners: Labels, lam: Tensor) -> Labels:
        """Soft labels of the mixes, with a mask of mixes of two labelled examples."""
        num_classes = self.num_classes if labels.targets.dim() == 1 else None
        targets = mix_targets(labels.targets, partners.targets, lam, num_classes)
        if labels.labelled_mask is None:
            return Labels(targets, None)
        ratio = len(partners.labelled_mask) // len(labels.labelled_mask)
        return Labels(targets, labels.labelled_mask.repeat(ratio) & partners.labelled_mask)

    def _label_loss(self, logits: Tensor, labels: Labels) -> Tensor:
        if self.multi_label:
            return binary_cross_entropy(logits, *labels)
        return (squared_error if self.regression_target else cross_entropy)(logits, *labels)

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.regression_target:
            return squared_error(student, teacher)
        return distance(self.distance, student, teacher, self.temperature, self.multi_label)

    def _statistics(self, logits, teacher_logits, labels: Labels, training: bool) -> dict:
        """The inputs of metrics: sums, and for correlations and average precision every value."""
        targets, mask = labels
        if self.regression_target:
            if training or not self.report_pearson_and_spearman:
                return {}
            return {"values": quality.correlation_values(logits, targets, mask)}
        predictions = quality.predict(logits, self.multi_label)
        output = {"ncorrect": quality.count(quality.equal_rows(predictions, targets), mask)}
        if self.multi_label:
            output["label_counts"] = quality.label_counts(predictions, targets, mask)
            if self.report_average_precision and not training:
                output["scores"] = quality.correlation_values(logits, targets, mask)
        elif not training:
            output["calibration"] = quality.calibration_gaps(logits, targets, mask)
        if self.report_mcc or self.report_acc_and_f1:
            confusion = quality.confusion_counts(predictions, targets, self.num_classes, mask)
            if self.report_mcc:
                output["confusion"] = confusion
            if self.report_acc_and_f1:
                output["f1_counts"] = quality.f1_counts(confusion, self.f1_classes)
        if teacher_logits is not None:
            taught = quality.predict(teacher_logits, self.multi_label)
            output["teacher_ncorrect"] = quality.count(quality.equal_rows(taught, targets), mask)
            output["agreed"] = quality.count(quality.equal_rows(predictions, taught))
        return output

    def logging_outputs_can_be_summed(self) -> bool:
        """False if a validation logs every value: processes then exchange them without sums."""
        return self.training or not (
            self.report_pearson_and_spearman or self.report_average_precision
        )

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
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
        for key in ["loss", *terms]:
            if key in logged:
                bits = total(key) / sample_size / math.log(2)
                metrics.log_scalar(key, bits, sample_size, round=3)
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
            quality.log_ece(total("calibration"), labelled)
        if "confusion" in logged:
            quality.log_mcc(total("confusion"))
        if "f1_counts" in logged:
            quality.log_f1(total("f1_counts"))
        if "label_counts" in logged:
            quality.log_label_f1(total("label_counts"))
        if "scores" in logged:
            quality.log_average_precision([o["scores"] for o in logging_outputs if "scores" in o])
        if "values" in logged:
            quality.log_correlations([o["values"] for o in logging_outputs if "values" in o])
