"""The task: fairseq's ``sentence_prediction`` with a plan of mixes and a frozen teacher."""

import contextlib
import os
from functools import partial
from typing import List, Optional

from fairseq.logging import metrics
from fairseq.tasks import register_task
from omegaconf import OmegaConf, open_dict

from .. import distributed
from ..checkpoints.checks import check_dictionaries, check_inputs, check_special_tokens
from ..data.labels import check_separators, check_texts
from ..data.mixup_kinds import MIXUP_KINDS
from ..data.mixup_plan import PAIRINGS
from ..data.wrappers import unwrapped
from ..fairseq_fixes.best_score import forget_nan
from ..fairseq_fixes.resume import ResumableTask
from ..fingerprints import digests_of_code, digests_of_split, fingerprint
from ..losses import LossWeights
from ..models.mixkd_hf import MixKDHFModel
from ..models.mixkd_roberta import MixKDRobertaModel, drop_nulls, needs_head
from ..modules.token_types import number_of_types
from ..teacher.build import TeacherSetup
from ..teacher.logits import TeacherLogits
from ..teacher.score import log_score
from ..teacher.sequences import TeacherSequences
from .beginning import (
    begin_hf_student,
    begin_student,
    check_architecture,
    check_settings,
    check_student,
    continues,
    find_origin,
)
from .config import MixKDSentencePredictionConfig
from .flags import check_data_folder, check_task_flags, flags_of_run, take_from_criterion
from .iterators import WithOwnIterators
from .load_split import load_split
from .steps import WithDistillation


@register_task("mixkd_sentence_prediction", dataclass=MixKDSentencePredictionConfig)
class MixKDSentencePredictionTask(ResumableTask, WithDistillation, WithOwnIterators):
    """Sentence (pair) classification or regression, distilled from a frozen teacher.

    Data flows in one direction: the dataset adds the mixing partners, :meth:`train_step` adds the
    teacher's logits, model and criterion are functions of it.
    """

    def __init__(self, cfg, data_dictionary, label_dictionary):
        super().__init__(cfg, data_dictionary, label_dictionary)
        with open_dict(cfg):
            # Mixes change with the epoch, so each epoch has new loader workers. fairseq would keep
            # the old ones, and torch often needs 5 seconds to end them.
            cfg.persistent_workers = False
        self._serves = False
        self._token_types = 1  # of the student
        criterion = OmegaConf.select(cfg._get_root(), "criterion")
        # a namespace is that of a criterion without a dataclass, which is not ours
        self._weights = LossWeights.of(criterion if OmegaConf.is_config(criterion) else {})
        self._run_teacher = TeacherSetup(cfg, self.dictionary, self._classes)
        self._fingerprint = fingerprint(self.dictionary, self._classes)
        self.state.merge_state_dict({"fingerprint": self._fingerprint})

    @property
    def _classes(self):
        return None if self.cfg.regression_target else self.label_dictionary

    @classmethod
    def setup_task(cls, cfg, **kwargs):
        """Check flags, with ValueErrors that name flag, rule and value, and load dictionaries."""
        if not OmegaConf.is_config(cfg):  # a namespace of argparse, from a program
            cfg = OmegaConf.structured(MixKDSentencePredictionConfig.from_namespace(cfg))
        serves = kwargs.get("from_checkpoint")  # a rank may load a student while others do not
        alone = distributed.no_collectives() if serves else contextlib.nullcontext()
        with alone, distributed.raise_on_all_ranks():
            take_from_criterion(cfg)
            check_task_flags(cfg)
            check_dictionaries(f"data folder {cfg.data}", cfg.data, cfg.regression_target)
            task = super().setup_task(cfg, **kwargs)
            check_special_tokens(cfg, task.dictionary)
        if serves:
            task._serves, task._weights = True, LossWeights()  # until a criterion is built
        elif distributed.world_size() > 1:
            content = {f"{what} of the data": value for what, value in task._fingerprint.items()}
            code = digests_of_code(cfg.user_dir)
            content.update({f"the code of {name}": digest[:16] for name, digest in code.items()})
            distributed.check_equal({**flags_of_run(cfg), **content})
        return task

    def declare_weights(self, weights: LossWeights) -> None:
        """Called by the criterion.

        A run's configuration has the weights before the criterion is built. Without one, a training
        split that was loaded before has no mixes, and :meth:`train_step` refuses its batches.
        """
        self._weights = weights

    def load_dataset(self, split, combine=False, **kwargs):
        """Load a split, checking its labels; the training split with its subset and mixes.

        Raises:
            ValueError: on every rank, if a rank cannot load it or has another one.
        """
        if not self._serves:
            self._run_teacher.open_data()
        folders = {"the data": self.cfg.data}
        teacher_data = self._run_teacher.data
        if teacher_data is not None:
            folders["--teacher-data"] = teacher_data.folder
        with distributed.raise_on_all_ranks():
            check_texts(self.cfg.data, split, self.dictionary, combine)
            load = partial(super().load_dataset, split, combine, **kwargs)
            dataset = load_split(
                self.cfg, split, combine, load, self.dictionary, self._classes, self._weights,
                teacher_data,
            )  # fmt: skip
            self.datasets[split] = dataset
            check_inputs({"extra_state": self.state.state_dict}, self.cfg.data)
            if self._token_types > 1:
                check_separators(self.cfg.data, self.dictionary)
        if self.teacher is not None:
            self.teacher.forget(split)
        if distributed.world_size() > 1:
            reads = distributed.is_first([os.path.realpath(folder) for folder in folders.values()])
            with distributed.raise_on_all_ranks():
                digests = digests_of_split(folders, split, combine) if reads else None
            distributed.check_equal(digests)
        return dataset

    def build_model(self, cfg, from_checkpoint=False):
        drop_nulls(cfg)
        if from_checkpoint:
            model = super().build_model(cfg, from_checkpoint)
            needs_head(model, self.cfg.classification_head_name, self.cfg.num_classes)
            self._token_types = number_of_types(model)
            return model
        self._begin_training(cfg)
        model = super().build_model(cfg)
        if isinstance(model, MixKDRobertaModel):
            self._left_out = model.leave_language_model_head_out()
            begin_student(self.cfg, model, self._classes, self.origin)
        elif isinstance(model, MixKDHFModel) and self.origin is None:  # else it has weights
            begin_hf_student(self.cfg, model, self.dictionary, self._classes)
        self._token_types = number_of_types(model)
        check_settings(self.cfg, model, self.origin)
        return model

    def _begin_training(self, model_cfg) -> None:
        """Check the checkpoints that a run begins from, before its student is built."""
        self.trains = True
        check_architecture(model_cfg)
        check_data_folder(self.cfg.data)
        PAIRINGS.find(str(self.cfg.mixup_pairing))
        for kind in str(self.cfg.mixup_kind).split(":"):
            MIXUP_KINDS.find(kind)
        self.origin = find_origin(self.cfg, model_cfg, self._fingerprint)
        self._run_teacher.open_data()

    def begin_epoch(self, epoch, model):
        """Before the first update, and at each epoch: compute the teacher logits that are needed
        more than once. Only training loads a teacher."""
        super().begin_epoch(epoch, model)
        check_student(self.cfg, model, self._weights)
        if self.teacher is None:
            self.teacher = self._set_up_teacher(model)
            self._log_teachers_score(model)
        cfg, teacher = self.cfg, self.teacher
        if teacher is not None and self._weights.hidden > 0:
            teacher.load()  # it computes every batch: hidden states are not kept
            return
        if teacher is None or not self._inputs_are_deterministic:
            return
        less_than_an_epoch = 0 < cfg.max_update * max(cfg.update_freq) < self._training_batches
        if less_than_an_epoch and not cfg.teacher_cache:
            return
        if self._weights.any_positive("kd"):
            teacher.prepare_clean(self._sequences(cfg.train_subset, model))
        repeats = cfg.mixup_period > 0 or cfg.teacher_cache
        if self._weights.any_positive("tmkd") and repeats and self._training_split is not None:
            # the epoch's iterator was just made over this copy of the split
            mixes = TeacherSequences(self._training_split, self._training_split.eligible)
            teacher.prepare_mixed(mixes, keep=cfg.mixup_period > 0)
        elif self._weights.any_positive("tmkd"):
            teacher.load()

    @property
    def _inputs_are_deterministic(self) -> bool:
        return self.cfg.shorten_method != "random_crop"

    def begin_valid_epoch(self, epoch, model):
        """Compute the teacher logits of the validation split, and reset its meters.

        fairseq adds all validations up in meters that are saved and never shown.
        """
        super().begin_valid_epoch(epoch, model)
        metrics.reset_meters("valid")
        forget_nan()
        if self.teacher is None or not self._inputs_are_deterministic:
            return
        for split in self._validation_splits:
            self.teacher.prepare_clean(self._sequences(split, model))

    @property
    def _validation_splits(self) -> List[str]:
        return [split for split in self.cfg.valid_subset.split(",") if split in self.datasets]

    def _log_teachers_score(self, model) -> None:
        """Of the first validation split, before the first update of a new run."""
        new = self.teacher is not None and not continues(self.cfg, self.origin)
        if new and self._inputs_are_deterministic and self._validation_splits:
            sequences = self._sequences(self._validation_splits[0], model)
            log_score(self.teacher, sequences, self.cfg.regression_target, self.cfg.multi_label)

    def _sequences(self, split: str, model) -> TeacherSequences:
        """The examples of a split that are not too long for student and teacher."""
        longest = min(self.max_positions(), model.max_positions())
        return TeacherSequences.clean(unwrapped(self.datasets[split]), longest)

    def _set_up_teacher(self, student) -> Optional[TeacherLogits]:
        """The teacher; None without one, if no loss needs it."""
        cfg = self.cfg
        if not cfg.teacher_path:
            flags = self._weights.flags("kd", "tmkd", "hidden")
            if flags:
                raise ValueError(f"--teacher-path must be given for {flags}, got none")
            return None
        files = self._run_teacher.open_files()
        if self._weights.hidden > 0 and (cfg.teacher_data is not None or len(files.paths) > 1):
            raise ValueError(
                f"--hidden-weight must be 0 with --teacher-data or several teachers, got "
                f"{self._weights.hidden:g}: hidden states are of one teacher and the same tokens"
            )
        recorded = continues(cfg, self.origin)
        files.check_recorded(self.origin.task_state.get("teachers") if recorded else None)
        self.state.merge_state_dict({"teachers": files.digests})
        sequences = [self._sequences(split, student) for split in self.datasets]
        longest = max((int(of_split.lengths.max(initial=0)) for of_split in sequences), default=0)
        return self._run_teacher.set_up(student, longest, self._num_workers)
