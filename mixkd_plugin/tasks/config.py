"""The task's flags."""

from dataclasses import dataclass, field
from typing import List, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks.sentence_prediction import SentencePredictionConfig
from omegaconf import II

from ..teacher.ensemble import DTYPES
from ..teacher.files import READERS


@dataclass
class MixKDSentencePredictionConfig(SentencePredictionConfig):
    # The task owns these two and the criterion points here (fairseq has it the other way round, so
    # that fairseq-validate, which knows no criterion when it reads the task's flags, fails).
    regression_target: bool = field(
        default=False, metadata={"help": "regression with --num-classes targets"}
    )
    classification_head_name: str = field(
        default="sentence_classification_head",
        metadata={"help": "name of the classification head of student and teacher"},
    )
    train_subset: str = II("dataset.train_subset")
    valid_subset: str = II("dataset.valid_subset")
    max_update: int = II("optimization.max_update")
    update_freq: List[int] = II("optimization.update_freq")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    checkpoint_suffix: str = II("checkpoint.checkpoint_suffix")
    reset_optimizer: bool = II("checkpoint.reset_optimizer")
    reset_dataloader: bool = II("checkpoint.reset_dataloader")
    user_dir: Optional[str] = II("common.user_dir")
    max_valid_steps: Optional[int] = II("dataset.max_valid_steps")

    rendezvous_timeout: int = field(
        default=300,
        metadata={"help": "seconds that processes wait for each other at the start"},
    )
    teacher_path: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoints of the frozen teacher ensemble, A.pt or A.pt:B.pt:..."},
    )
    teacher_data: Optional[str] = field(
        default=None,
        metadata={
            "help": "the teacher's binarised copy of the data, in its own vocabulary: the same "
            "examples in the same order (default: the student's data)"
        },
    )
    teacher_weights: Optional[str] = field(
        default=None,
        metadata={"help": "weights of the teachers' logits, 0.7:0.3 (default: equal)"},
    )
    teacher_dtype: ChoiceEnum(["auto", *DTYPES]) = field(
        default="auto",
        metadata={"help": "type the teacher computes in; auto is the student's"},
    )
    teacher_read_by: ChoiceEnum(READERS) = field(
        default="run",
        metadata={
            "help": "who reads --teacher-path and sends it to the others: one process of the run, "
            "or one of each host"
        },
    )
    teacher_cache: Optional[str] = field(
        default=None,
        metadata={
            "help": "folder that keeps the teacher's answers for later runs: with the same "
            "teacher, data and mixes they do not load it"
        },
    )
    mixup_alpha: float = field(
        default=0.4,
        metadata={"help": "each mixed example's weight lam ~ Beta(alpha, alpha), alpha > 0"},
    )
    mixup_ratio: int = field(
        default=1, metadata={"help": "mixed examples per clean example; 0 is off"}
    )
    mixup_pairing: str = field(
        default="random",
        metadata={
            "help": "partners: random (any other example), length (one of similar length, for less "
            "padding), or a registered rule"
        },
    )
    mixup_period: int = field(
        default=0,
        metadata={
            "help": "mixes return after so many epochs, and the teacher's answers with them; "
            "0: never"
        },
    )
    mixup_seed: Optional[int] = field(
        default=None, metadata={"help": "seed of the mixes (default: --seed)"}
    )
    train_fraction: float = field(
        default=1.0,
        metadata={
            "help": "train on this random part, in (0, 1], with the classes' proportions; "
            "smaller parts are inside larger ones"
        },
    )
    train_fraction_seed: int = field(
        default=1, metadata={"help": "seed of the choice of --train-fraction"}
    )
    unlabelled_examples: ChoiceEnum(["refuse", "allow"]) = field(
        default="refuse",
        metadata={
            "help": "training examples without a gold label (<unk>, or nan for regression): allow "
            "them for the teacher's terms alone, or refuse them as errors"
        },
    )
    batch_by_length: ChoiceEnum(["on", "off"]) = field(
        default="on",
        metadata={
            "help": "batches of similar length, drawn anew each epoch (with --no-shuffle the same "
            "in each); off: fairseq's random ones"
        },
    )
