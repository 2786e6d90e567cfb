"""The loss: four terms in one formula (MixKD, section 3; Liang et al., ICLR 2021).

L = w_mle L_MLE + w_kd L_KD + w_sm L_SM + w_tmkd L_TMKD
"""

import math
from typing import Any, Dict, NamedTuple, Optional, Set

from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.logging import metrics
from omegaconf import OmegaConf
from torch import Tensor

from . import metrics as quality
from .criterion_config import MixKDCriterionConfig
from .encoding import split_rows
from .fairseq_flags import check_best_metric
from .flags import TERMS, check_criterion_flags, check_distance
from .losses import cross_entropy, distance, labelled_rows, squared_error, zero_unless
from .mixup import Mix, mix_targets
from .splits import wants
from .task import MixKDSentencePredictionTask


class Gold(NamedTuple):
    """Gold labels of R rows.

    targets: class indices (R,), or regression targets (R, C); 0 where there is none
    known: (R,) True where there is one; None: everywhere
    """

    targets: Tensor
    known: Optional[Tensor]


@register_criterion("mixkd", dataclass=MixKDCriterionConfig)
class MixKDCriterion(SentencePredictionCriterion):
    """Weighted sum of the four terms, each summed over rows; the sample size is fairseq's.

    A mixed term is divided by the number of mixed rows per example, so that its weight means the
    same under any ``--mixup-ratio``. An example without a gold label adds nothing to L_MLE, nor to
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
        check_criterion_flags(cfg, task.cfg.mixup_ratio)
        if task.trains:
            check_distance(cfg)
        super().__init__(cfg, task)
        self.weights = {term: cfg[f"{term}_weight"] for term in TERMS}
        self.distance = str(cfg.distill_distance)
        self.temperature = cfg.distill_temperature
        self.report_mcc = cfg.report_mcc
        self.report_acc_and_f1 = cfg.report_acc_and_f1
        self.report_pearson_and_spearman = cfg.report_pearson_and_spearman
        self.num_classes = task.cfg.num_classes
        self.unlabelled = task.cfg.unlabelled_examples == "allow"
        if not self.regression_target:
            labels = task.label_dictionary
            names = labels.symbols[labels.nspecial : labels.nspecial + self.num_classes]
            self.f1_classes = quality.classes_of_f1(names)
        task.declare_weights(self.weights)
        if task.trains:
            check_best_metric(self)

    def _wants(self, *terms: str) -> bool:
        return wants(self.weights, *terms)

    def validation_metrics(self) -> Set[str]:
        """What is logged in validation, to choose the best checkpoint by.

        To be extended by a subclass, or for a task, that logs more.
        """
        names = {"loss", "mle_loss", "wps", "wpb", "bsz", "num_updates"}
        if self.task.cfg.teacher_path:
            names.add("kd_loss")
        if self.regression_target:
            if self.report_pearson_and_spearman:
                names |= {"pearson", "spearman", "pearson_and_spearman"}
            return names
        names |= {"accuracy", "ece"}
        if self.task.cfg.teacher_path:
            names |= {"teacher_accuracy", "agreement"}
        if self.report_mcc:
            names.add("mcc")
        if self.report_acc_and_f1:
            names |= {"f1", "acc_and_f1"}
        return names

    def forward(self, model, sample, reduce=True):
        """Loss summed over the batch, fairseq's sample size, and the values to log."""
        training = model.training
        mix = None
        if training and self._wants("sm", "tmkd"):
            self._check_partners(sample)
            mix = Mix(sample["partner"]["net_input"]["src_tokens"], sample["lam"])
        with_clean = mix is None or self._wants("mle", "kd")
        n = sample["id"].numel()

        clean, mixed = split_rows(
            self._student_logits(model, sample["net_input"], mix, with_clean), n, with_clean
        )
        teacher_clean = teacher_mixed = not_finite = None
        if self.task.teacher_outputs is None:
            if training and self._wants("kd", "tmkd"):
                raise ValueError(
                    f"--kd-weight {self.weights['kd']:g}, --tmkd-weight {self.weights['tmkd']:g}: "
                    "the task sets the teacher up in begin_epoch, which was not called"
                )
        else:
            teacher_clean, teacher_mixed, not_finite = self.task.teacher_outputs.logits(
                sample,
                clean=self._wants("kd") or not training,
                mixed=mix is not None and self._wants("tmkd"),
            )
        gold = self._gold(sample)
        losses, logging_output = {}, {}
        if clean is not None:
            losses["mle"] = self._label_loss(clean, gold)
            if teacher_clean is not None:
                losses["kd"] = self._distance(clean, teacher_clean)
            logging_output = self._statistics(sample, clean, teacher_clean, gold, training)
        if mixed is not None:
            ratio = len(mixed) // n
            mixed_gold = self._mixed_gold(gold, self._gold(sample["partner"]), mix.lam)
            losses["sm"] = self._label_loss(mixed, mixed_gold) / ratio
            if teacher_mixed is not None:
                losses["tmkd"] = self._distance(mixed, teacher_mixed) / ratio

        if training:
            loss = sum(weight * losses[term] for term, weight in self.weights.items() if weight > 0)
            for name, value in self.extra_terms(sample, clean, mixed).items():
                loss, losses[name] = loss + value, value
        else:
            loss = losses["mle"]
        if not_finite is not None:
            logging_output["teacher_not_finite"] = not_finite
        if self.unlabelled:
            logging_output["nlabelled"] = sample["nlabelled"]
        sample_size = gold.targets.numel()
        logging_output.update({f"{term}_loss": value.data for term, value in losses.items()})
        logging_output.update(
            loss=loss.data, ntokens=sample["ntokens"], nsentences=n, sample_size=sample_size
        )
        return loss, sample_size, logging_output

    def _check_partners(self, sample) -> None:
        if "partner" not in sample:
            weights = self.weights
            terms = [f"--{t}-weight {weights[t]:g}" for t in ("sm", "tmkd") if self._wants(t)]
            raise ValueError(
                f"{' and '.join(terms)}: a batch of training examples has no mixing partners; load "
                f"split {self.task.cfg.train_subset!r} by this task's load_dataset, after the "
                "criterion was built"
            )

    def extra_terms(
        self, sample: Dict[str, Any], clean: Optional[Tensor], mixed: Optional[Tensor]
    ) -> Dict[str, Tensor]:
        """For criteria that extend this one: what else training adds to the loss, by name.

        Each is a sum over rows, with its weight; it is logged as ``NAME_loss``.

        Args:
            clean, mixed: the student's logits (R, C); None where the loss needs none
        """
        return {}

    def _student_logits(self, model, net_input, mix: Optional[Mix], with_clean: bool) -> Tensor:
        arguments = {"mix": mix, "with_clean": with_clean} if mix is not None else {}
        logits, _ = model(
            **net_input,
            features_only=True,
            classification_head_name=self.classification_head_name,
            **arguments,
        )
        return logits

    def _gold(self, sample) -> Gold:
        shape = (-1, self.num_classes) if self.regression_target else (-1,)
        targets = sample["target"].view(shape)
        if self.regression_target:
            targets = targets.float()
        known = labelled_rows(targets) if self.unlabelled else None
        return Gold(zero_unless(known, targets), known)

    def _mixed_gold(self, gold: Gold, partners: Gold, lam: Tensor) -> Gold:
        """Soft labels of the mixed rows, known where both are."""
        num_classes = None if self.regression_target else self.num_classes
        targets = mix_targets(gold.targets, partners.targets, lam, num_classes)
        if gold.known is None:
            return Gold(targets, None)
        ratio = len(partners.known) // len(gold.known)
        return Gold(targets, gold.known.repeat(ratio) & partners.known)

    def _label_loss(self, logits: Tensor, gold: Gold) -> Tensor:
        return (squared_error if self.regression_target else cross_entropy)(logits, *gold)

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.regression_target:
            return squared_error(student, teacher)
        return distance(self.distance, student, teacher, self.temperature)

    def _statistics(self, sample, logits, teacher_logits, gold: Gold, training: bool) -> dict:
        """What metrics are made of: sums, and for correlations every value."""
        targets, known = gold
        if self.regression_target:
            if training or not self.report_pearson_and_spearman:
                return {}
            return {"values": quality.correlation_values(logits, targets, known)}
        predictions = logits.argmax(dim=1)
        output = {"ncorrect": zero_unless(known, predictions == targets).sum()}
        if not training:
            output["calibration"] = quality.calibration_gaps(logits, targets, known)
        if self.report_mcc or self.report_acc_and_f1:
            confusion = quality.confusion_counts(predictions, targets, self.num_classes, known)
            if self.report_mcc:
                output["confusion"] = confusion
            if self.report_acc_and_f1:
                output["f1_counts"] = quality.f1_counts(confusion, self.f1_classes)
        if teacher_logits is not None:
            teacher_predictions = teacher_logits.argmax(dim=1)
            teacher_correct = zero_unless(known, teacher_predictions == targets)
            output["teacher_ncorrect"] = teacher_correct.sum()
            output["agreed"] = (predictions == teacher_predictions).sum()
        return output

    def logging_outputs_can_be_summed(self) -> bool:
        """False where a validation logs every value: processes then exchange those as they are."""
        return self.training or not self.report_pearson_and_spearman

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
        """Log means over all examples, in fairseq's units: losses in bits, shares in percent.

        Every loss is divided by log 2, squared errors too, as fairseq does: the logged terms times
        their weights add up to the logged loss.

        Raises:
            ValueError: on all ranks, after an update in which the teacher's answers overflowed.
        """
        logged = {key for output in logging_outputs for key in output}

        def total(key):
            return sum(output[key] for output in logging_outputs if key in output)

        if total("teacher_not_finite") > 0:
            raise ValueError(
                "--teacher-path: the teacher's logits are not finite numbers for "
                f"{int(total('teacher_not_finite'))} rows of this update: is --teacher-dtype too "
                "narrow? (float16 ends at 65504; bfloat16 and float32 do not)"
            )
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
            if count in logged:  # of no rows at all: nan, of weight 0
                metrics.log_scalar(key, 100.0 * total(count) / rows, rows, round=1)
        if "calibration" in logged:
            quality.log_ece(total("calibration"), labelled)
        if "confusion" in logged:
            quality.log_mcc(total("confusion"))
        if "f1_counts" in logged:
            quality.log_f1(total("f1_counts"))
        if "values" in logged:
            quality.log_correlations([o["values"] for o in logging_outputs if "values" in o])
