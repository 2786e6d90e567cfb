"""The loss: the terms of one formula (MixKD, section 3; Liang et al., ICLR 2021), and one more.

L = w_mle L_MLE + w_kd L_KD + w_sm L_SM + w_tmkd L_TMKD + w_hidden L_HIDDEN
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
from fairseq.criterions import register_criterion
from omegaconf import OmegaConf
from torch import Tensor

from ..fairseq_fixes.refused_flags import check_best_metric
from ..losses import (
    TERMS,
    LossWeights,
    binary_cross_entropy,
    cross_entropy,
    distance,
    hidden_distance,
    labelled_rows,
    squared_error,
    zero_unless,
)
from ..mixup import Mix, mix_targets
from ..tasks.flags import check_criterion_flags, check_distance
from ..tasks.mixkd_sentence_prediction import MixKDSentencePredictionTask
from .config import MixKDCriterionConfig
from .metrics import WithMetrics


class Labels(NamedTuple):
    """Labels of R sequences.

    targets: class indices (R,), or regression targets or several labels (R, C); 0 without a label
    labelled_mask: (R,) True with a label; None: all have one
    """

    targets: Tensor
    labelled_mask: Optional[Tensor]


@register_criterion("mixkd", dataclass=MixKDCriterionConfig)
class MixKDCriterion(WithMetrics):
    """Weighted sum of the terms, each summed over sequences; the sample size is fairseq's.

    A mixed term, or the mixed part of L_HIDDEN, is divided by the number of mixes per example, so
    that its weight means the same for any ``--mixup-ratio``. An example without a label adds
    nothing to L_MLE, nor to L_SM as example or partner, and counts in the sample size like any
    other: a batch's loss stays the sum of its examples'. In evaluation the loss is L_MLE, whatever
    the weights: it needs no teacher and compares between runs.
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
        self.weights = LossWeights.of(cfg)
        self.distance = str(cfg.distill_distance)
        self.temperature = cfg.distill_temperature
        self.unlabelled = task.cfg.unlabelled_examples == "allow"
        task.declare_weights(self.weights)
        if task.trains:
            check_best_metric(self)

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
        wants_states = training and self.weights.hidden > 0
        clean, mixed, states = self._student_logits(model, sample["net_input"], mix, wants_states)
        logging_output = {}
        if clean is not None:
            taught = sample.get("teacher_logits")
            logging_output = self.batch_values(clean, taught, *labels, training)
        extra = self.extra_terms(sample, clean, mixed) if training else {}
        losses = self._losses(sample, clean, mixed, labels, mixed_labels)
        # fairseq's is the number of targets; the loss of several labels is a mean over classes
        sample_size = len(labels.targets) if self.multi_label else labels.targets.numel()
        if wants_states and "teacher_states" in sample:
            targets = sample_size / len(sample["id"])  # of a regression: several for a sequence
            losses["hidden"] = targets * self._hidden_loss(states, sample, mix)
        loss = sum(extra.values(), self._weighted_sum(losses)) if training else losses["mle"]
        if extra.keys() & TERMS:
            raise ValueError(
                f"extra_terms must name others than {', '.join(TERMS)}, got {', '.join(extra)}"
            )
        losses.update(extra)
        if self.unlabelled:
            logging_output["nlabelled"] = sample["nlabelled"]
            if not training:
                targets_of_each = sample_size // len(sample["id"])
                logging_output["mle_size"] = sample["nlabelled"] * targets_of_each
        for term, value in losses.items():  # a term of one's own may be a number
            value = torch.as_tensor(value, device=loss.device)
            logging_output[f"{term}_loss"] = value.detach()
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

    def _hidden_loss(self, states: List[Tensor], sample: Dict[str, Any], mix: Optional[Mix]):
        """Summed over sequences, of the student's states and the batch's ``teacher_states``."""
        rows = hidden_distance(states, sample["teacher_states"])
        if mix is None:
            return rows.sum()
        clean, mixed = mix.split_logits(rows)
        loss = mixed.sum() * len(sample["id"]) / len(mixed)
        return loss if clean is None else loss + clean.sum()

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

        Each is a sum over sequences (of a regression with several targets, over all of these), with
        its weight; it is logged as ``NAME_loss``.

        Args:
            clean, mixed: the student's logits (R, C); None if the loss needs none
        """
        return {}

    def _student_logits(
        self, model, net_input, mix: Optional[Mix], with_states: bool
    ) -> Tuple[Optional[Tensor], Optional[Tensor], Optional[List[Tensor]]]:
        """Logits of the clean examples (B, C) and of the mixes (M, C), and the hidden states of
        both; None if not computed."""
        arguments = {"with_states": True} if with_states else {}
        if mix is not None:
            tokens, of_model = mix.model_input(net_input["src_tokens"])
            net_input = {**net_input, "src_tokens": tokens}
            if of_model is None:
                net_input["src_lengths"] = tokens.ne(mix.pad).sum(dim=1)
            else:
                arguments["mix"] = of_model
        logits, extra = model(
            **net_input,
            features_only=True,
            classification_head_name=self.classification_head_name,
            **arguments,
        )
        clean, mixed = (logits, None) if mix is None else mix.split_logits(logits)
        return clean, mixed, extra["states"] if with_states else None

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
