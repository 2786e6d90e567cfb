"""The criterion's flags."""

from dataclasses import dataclass

from fairseq.criterions.sentence_prediction import SentencePredictionConfig
from omegaconf import OmegaConf

from ..tasks.config import flag


def _of_task(name: str, *, _root_):
    """A flag of our task. fairseq's own task refers to the criterion's, and so has no value."""
    if OmegaConf.is_interpolation(_root_.task, name):  # MixKDCriterion refuses it by its name
        return SentencePredictionConfig.__dataclass_fields__[name].default
    return _root_.task[name]


OmegaConf.register_new_resolver("mixkd_task", _of_task, replace=True)


@dataclass
class MixKDCriterionConfig(SentencePredictionConfig):
    classification_head_name: str = "${mixkd_task:classification_head_name}"
    regression_target: bool = "${mixkd_task:regression_target}"
    report_mcc: bool = flag(False, "log the Matthews correlation")
    report_acc_and_f1: bool = flag(
        False,
        "log F1: of class 1, where there are two and one has this name, else the macro average",
    )
    report_pearson_and_spearman: bool = flag(False, "log correlations in validation (regression)")
    report_average_precision: bool = flag(
        False, "log the mean average precision in validation (--multi-label)"
    )

    mle_weight: float = flag(1.0, "weight, >= 0, of L_MLE: labels, clean examples")
    kd_weight: float = flag(0.0, "weight, >= 0, of L_KD: teacher logits, clean examples")
    sm_weight: float = flag(1.0, "weight, >= 0, of L_SM: mixed labels, mixed examples")
    tmkd_weight: float = flag(1.0, "weight, >= 0, of L_TMKD: teacher logits, mixed examples")
    hidden_weight: float = flag(
        0.0,
        "weight, >= 0, of L_HIDDEN: the teacher's hidden states, of every sequence "
        "that the student computes; the teacher must be one, of the student's width",
    )
    distill_distance: str = flag(
        "mse",
        "distance between student and teacher logits: mse, kl (teacher from student), "
        "ce (cross-entropy with the teacher's probabilities), or a registered one; regression "
        "has mse alone; --multi-label has kl and ce of each class, averaged",
    )
    distill_temperature: float = flag(
        1.0, "temperature T > 0 of kl and ce; the distance is multiplied by T squared"
    )
