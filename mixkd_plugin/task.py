"""The task: fairseq's ``sentence_prediction`` with a plan of mixes and a frozen teacher."""

import copy
import logging
import os
from dataclasses import dataclass, field
from functools import partial
from typing import Dict, Optional

import numpy as np
import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from omegaconf import II, open_dict

from .data import DistillationDataset
from .flags import check_task_flags
from .labels import read_class_labels, read_regression_targets
from .model import MixKDRobertaModel
from .pairing import PAIRINGS, draw_plan, stratified_subset
from .preflight import fingerprint
from .student_init import initialise_student
from .teacher import DTYPES, Expected
from .teacher_outputs import TeacherOutputs, set_up_teacher

logger = logging.getLogger(__name__)


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

    teacher_path: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoints of the frozen teacher ensemble, A.pt or A.pt:B.pt:..."},
    )
    teacher_weights: Optional[str] = field(
        default=None,
        metadata={"help": "weights of the teachers' logits, 0.7:0.3 (default: equal)"},
    )
    teacher_dtype: ChoiceEnum(["auto", *DTYPES]) = field(
        default="auto",
        metadata={"help": "type the teacher computes in; auto is the student's"},
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
    mixup_pairing: ChoiceEnum(PAIRINGS) = field(
        default="random",
        metadata={"help": "partners: any other example, or one of similar length (less padding)"},
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
    batch_by_length: ChoiceEnum(["on", "off"]) = field(
        default="on",
        metadata={
            "help": "batches of similar length, drawn anew each epoch; off: fairseq's random ones"
        },
    )


@register_task("mixkd_sentence_prediction", dataclass=MixKDSentencePredictionConfig)
class MixKDSentencePredictionTask(SentencePredictionTask):
    """Sentence (pair) classification or regression, distilled from a frozen teacher.

    ``teacher_outputs`` is None until training starts, and for good where no teacher is given: a
    student loads, validates and serves without it.
    """

    def __init__(self, cfg, data_dictionary, label_dictionary):
        super().__init__(cfg, data_dictionary, label_dictionary)
        with open_dict(cfg):
            # Mixes change with the epoch, so each epoch has loader workers of its own. fairseq lets
            # them outlive it, and torch often takes 5 seconds to be rid of such ones.
            cfg.persistent_workers = False
        self.teacher_outputs: Optional[TeacherOutputs] = None
        self._weights: Dict[str, float] = {}
        self._num_workers = 0
        self.state.merge_state_dict({"fingerprint": fingerprint(self.dictionary, self._classes)})

    @property
    def _classes(self):
        return None if self.cfg.regression_target else self.label_dictionary

    @classmethod
    def setup_task(cls, cfg, **kwargs):
        """Check flags and load dictionaries.

        Raises:
            ValueError: naming the flag, its value and what is allowed.
        """
        check_task_flags(cfg)
        needed = ["input0/dict.txt"] + ([] if cfg.regression_target else ["label/dict.txt"])
        for name in needed:
            path = os.path.join(cfg.data, name)
            if not os.path.isfile(path):
                raise ValueError(f"data folder {cfg.data}: {path} does not exist")
        return super().setup_task(cfg, **kwargs)

    def declare_weights(self, weights: Dict[str, float]) -> None:
        """Called by the criterion: what each term of the loss weighs."""
        self._weights = weights

    def _wants(self, *terms: str) -> bool:
        return any(self._weights.get(term, 0) > 0 for term in terms)

    @property
    def _texts_return(self) -> bool:
        return self.cfg.shorten_method != "random_crop"

    @property
    def _mixing(self) -> bool:
        return self._wants("sm", "tmkd")

    def load_dataset(self, split, combine=False, **kwargs):
        """Load a split, checking its labels; the training split with its fraction and its mixes."""
        cfg = self.cfg
        if cfg.regression_target:
            targets = read_regression_targets(cfg.data, split, cfg.num_classes)
            strata = np.zeros(len(targets), dtype=np.int64)
        else:
            strata = read_class_labels(
                cfg.data, split, self.label_dictionary, cfg.num_classes, combine
            )
        try:
            dataset = super().load_dataset(split, combine, **kwargs)
        except AssertionError as error:  # inputs missing, or not as many as there are labels
            raise ValueError(f"split {split!r} of {cfg.data}: {error}") from error

        training = split == cfg.train_subset
        by_length = cfg.batch_by_length == "on"
        indices = None
        if training and cfg.train_fraction < 1:
            indices = stratified_subset(strata, cfg.train_fraction, cfg.train_fraction_seed)
            logger.info("training on %d of %d examples", len(indices), len(strata))
        self.datasets[split] = DistillationDataset(
            split,
            dataset,
            lengths=dataset.sizes[0],
            indices=indices,
            by_length=by_length,
            length_seed=cfg.seed if by_length and training else None,
            draw_plan=self._plan_drawer() if training and self._mixing else None,
            keep_every_example=by_length or not training,
        )
        return self.datasets[split]

    def _plan_drawer(self):
        cfg = self.cfg
        return partial(
            draw_plan,
            ratio=cfg.mixup_ratio,
            alpha=cfg.mixup_alpha,
            pairing=str(cfg.mixup_pairing),
            period=cfg.mixup_period,
            seed=cfg.seed if cfg.mixup_seed is None else cfg.mixup_seed,
        )

    def build_model(self, cfg, from_checkpoint=False):
        model = super().build_model(cfg, from_checkpoint)
        # a checkpoint's student is complete: the file it began from may be gone
        if not from_checkpoint and isinstance(model, MixKDRobertaModel):
            path, layers = model.args.student_init_path, model.args.student_init_layers
            if path is not None:
                initialise_student(model, path, layers)
        return model

    def get_batch_iterator(self, dataset, *args, **kwargs):
        """fairseq's, over a dataset with an epoch of its own where that matters.

        Else validating on the training split would set the mixes of training back to epoch 1.
        """
        is_training_split = dataset is self.datasets.get(self.cfg.train_subset)
        if not dataset.can_reuse_epoch_itr_across_epochs:
            dataset = copy.copy(dataset)
        if is_training_split:
            self._last_training_split = dataset
        self._num_workers = kwargs.get("num_workers", 0)
        return super().get_batch_iterator(dataset, *args, **kwargs)

    def begin_epoch(self, epoch, model):
        """Before the first update, and at each epoch: know what the teacher says to what returns.

        Nothing else loads the teacher.
        """
        super().begin_epoch(epoch, model)
        if self._mixing and not getattr(model, "supports_mixup", False):
            raise ValueError(
                "mixed examples need a student of --arch mixkd_roberta or one of its named "
                f"architectures, got {type(model).__name__}"
            )
        if self.teacher_outputs is None:
            self.teacher_outputs = self._set_up_teacher(model)
        outputs, cfg = self.teacher_outputs, self.cfg
        if outputs is None or not self._texts_return:
            return
        # the iterator of this epoch was made over it a moment ago
        dataset = self._last_training_split
        if self._wants("kd"):
            outputs.prepare_clean(cfg.train_subset, dataset)
        if self._wants("tmkd") and (cfg.mixup_period > 0 or cfg.teacher_cache):
            outputs.prepare_mixes(cfg.train_subset, dataset, keep=cfg.mixup_period > 0)

    def begin_valid_epoch(self, epoch, model):
        """Before the first validation: know what the teacher says to the other splits."""
        super().begin_valid_epoch(epoch, model)
        if self.teacher_outputs is None or not self._texts_return:
            return
        longest = min(self.max_positions(), model.max_positions())
        for split, dataset in self.datasets.items():
            if split != self.cfg.train_subset:
                self.teacher_outputs.prepare_clean(split, dataset.up_to(longest))

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's step; a rank without a batch of its own is given any batch to compute for zero.

        That one is a validation batch once a validation iterator was made, without partners: each
        example then mixes with itself, so that the rank computes and logs the terms the others do.
        """
        if ignore_grad and self._mixing and "partner" not in sample:
            lam = torch.ones(len(sample["id"]), dtype=torch.float64, device=sample["id"].device)
            sample = {**sample, "partner": sample, "lam": lam}
        if ignore_grad:
            sample = {**sample, "split": None}  # no answers are known, and none matter
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def _set_up_teacher(self, student) -> Optional[TeacherOutputs]:
        """None without a teacher, where no loss needs one."""
        cfg = self.cfg
        if not cfg.teacher_path:
            terms = [term for term in ("kd", "tmkd") if self._wants(term)]
            if terms:
                flags = [f"--{term}-weight {self._weights[term]:g}" for term in terms]
                raise ValueError(f"--teacher-path is missing: {' and '.join(flags)} need a teacher")
            return None
        longest = max((int(d.sizes.max()) for d in self.datasets.values() if len(d)), default=0)
        expected = Expected(
            data=cfg.data,
            dictionary=self.dictionary,
            labels=self._classes,
            head=cfg.classification_head_name,
            num_classes=cfg.num_classes,
            longest=min(longest, self.max_positions()),
        )
        return set_up_teacher(cfg, expected, student, self._num_workers)
