"""The criterion's flags."""

from dataclasses import dataclass, field

from fairseq.criterions.sentence_prediction import SentencePredictionConfig
from omegaconf import OmegaConf


def _of_task(name: str, *, _root_):
    """A flag that our task owns. fairseq's own task points back here, and so has none."""
    if OmegaConf.is_interpolation(_root_.task, name):  # MixKDCriterion refuses it by its name
        return SentencePredictionConfig.__dataclass_fields__[name].default
    return _root_.task[name]


OmegaConf.register_new_resolver("mixkd_task", _of_task, replace=True)


@dataclass
class MixKDCriterionConfig(SentencePredictionConfig):
    classification_head_name: str = "${mixkd_task:classification_head_name}"
    regression_target: bool = "${mixkd_task:regression_target}"
    # fairseq's own three, which 0.12.2 does not have yet
    report_mcc: bool = field(default=False, metadata={"help": "log the Matthews correlation"})
    report_acc_and_f1: bool = field(
        default=False,
        metadata={
            "help": "log F1 (of class 1, where there are two and one is named so; else macro)"
        },
    )
    report_pearson_and_spearman: bool = field(
        default=False, metadata={"help": "log correlations in validation (regression)"}
    )

    mle_weight: float = field(
        default=1.0, metadata={"help": "weight of L_MLE: gold labels on clean examples"}
    )
    kd_weight: float = field(
        default=0.0, metadata={"help": "weight of L_KD: the teacher on clean examples"}
    )
    sm_weight: float = field(
        default=1.0, metadata={"help": "weight of L_SM: mixed gold labels on mixed examples"}
    )
    tmkd_weight: float = field(
        default=1.0, metadata={"help": "weight of L_TMKD: the teacher on mixed examples"}
    )
    distill_distance: str = field(
        default="mse",
        metadata={
            "help": "of student from teacher: mse (of the logits), kl (divergence, teacher to "
            "student), ce (cross-entropy under the teacher), or a registered one; regression has "
            "mse alone"
        },
    )
    distill_temperature: float = field(
        default=1.0,
        metadata={"help": "temperature T > 0 of kl and ce; the loss is scaled by T squared"},
    )
