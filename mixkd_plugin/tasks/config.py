"""The task's flags."""

from dataclasses import dataclass, field
from typing import Any, List, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks.sentence_prediction import SentencePredictionConfig
from omegaconf import II

from ..checkpoints.outputs import DEFAULT_HEAD
from ..teacher.ensemble import DTYPES
from ..teacher.files import READERS


def flag(default: Any, text: str) -> Any:
    """A field of a configuration, with its help."""
    return field(default=default, metadata={"help": text})


@dataclass
class MixKDSentencePredictionConfig(SentencePredictionConfig):
    # The task owns these two and the criterion points here (fairseq has it the other way round, so
    # that fairseq-validate, which knows no criterion when it reads the task's flags, fails).
    regression_target: bool = flag(
        False, "predict --num-classes numbers for each text instead of a class"
    )
    multi_label: bool = flag(
        False,
        "a text has any number of the --num-classes classes: its line of label/SPLIT."
        "label has 0 or 1 for each",
    )
    classification_head_name: str = flag(
        DEFAULT_HEAD, "name of the classification head of student and teacher"
    )
    train_subset: str = II("dataset.train_subset")
    valid_subset: str = II("dataset.valid_subset")
    max_update: int = II("optimization.max_update")
    update_freq: List[int] = II("optimization.update_freq")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    reset_optimizer: bool = II("checkpoint.reset_optimizer")
    reset_dataloader: bool = II("checkpoint.reset_dataloader")
    user_dir: Optional[str] = II("common.user_dir")
    max_valid_steps: Optional[int] = II("dataset.max_valid_steps")

    rendezvous_timeout: int = flag(
        300, "seconds, > 0, that processes wait for each other at the start of a run"
    )
    teacher_path: Optional[str] = flag(
        None,
        "checkpoint of the frozen teacher, or hf:FOLDER of a Hugging Face classifier; "
        "several, A.pt:hf:FOLDER:..., are an ensemble",
    )
    teacher_data: Optional[str] = flag(
        None,
        "data folder that the teacher reads: the same examples in the same order, in "
        "the teacher's vocabulary (default: the student's data folder)",
    )
    teacher_labels: Optional[str] = flag(
        None,
        "the data's classes in the order of the teacher's outputs: A,B,..., for a "
        "teacher whose classes have other names (default: they must be the data's)",
    )
    teacher_weights: Optional[str] = flag(
        None, "weights, >= 0, of the teachers' logits, such as 0.7:0.3 (default: equal)"
    )
    teacher_dtype: ChoiceEnum(["auto", *DTYPES]) = flag(
        "auto", "data type in which the teacher computes; auto: that of the student"
    )
    teacher_read_by: ChoiceEnum(READERS) = flag(
        "run",
        "who reads --teacher-path and sends it to the other processes: one process of "
        "the run, or one of each host",
    )
    teacher_cache: Optional[str] = flag(
        None,
        "folder that keeps teacher logits for later runs: a run with the same "
        "teacher, data and mixes does not load the teacher",
    )
    mixup_kind: str = flag(
        "interpolate",
        "how two examples are mixed: interpolate (their embeddings, as in the paper), "
        "splice (the beginning of one text and the end of the other), span (a random span of "
        "one replaced by one of the other), or a registered kind; of several, such as "
        "splice:interpolate, one is drawn for each mix",
    )
    mixup_alpha: float = flag(
        0.4,
        "alpha > 0 of Beta(alpha, alpha), which gives the weight of each mix (splice, "
        "span: the share of its tokens that come from the example)",
    )
    mixup_ratio: int = flag(1, "mixes per example, >= 0; 0 turns mixing off")
    mixup_pairing: str = flag(
        "random",
        "how partners are chosen: random (any other example), length (one of similar "
        "length, for less padding), or a registered rule",
    )
    mixup_period: int = flag(
        0,
        "repeat the mixup plan every N epochs: teacher logits of mixes are computed "
        "once (0: new mixes every epoch)",
    )
    mixup_seed: Optional[int] = flag(None, "seed of the mixup plan (default: --seed)")
    train_fraction: float = flag(
        1.0,
        "share of the training examples to use, > 0 and <= 1: a random subset with "
        "the same proportions of classes; smaller subsets are inside larger ones",
    )
    train_fraction_seed: int = flag(1, "seed of the subset of --train-fraction")
    unlabelled_examples: ChoiceEnum(["refuse", "allow"]) = flag(
        "refuse",
        "training examples without a label (<unk>; nan for regression and "
        "--multi-label): refuse them as errors, or allow them for the teacher's terms of the "
        "loss",
    )
    batch_by_length: ChoiceEnum(["on", "off"]) = flag(
        "on",
        "batches of texts of similar length: on, drawn again each epoch (with "
        "--no-shuffle the same in each), or off, fairseq's random batches",
    )
