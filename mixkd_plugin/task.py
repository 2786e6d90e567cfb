"""The task: fairseq's ``sentence_prediction`` with a plan of mixes and a frozen teacher."""

import logging
import os
from functools import cached_property, partial
from typing import Dict, Optional

from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from omegaconf import open_dict

from . import ranks, resume
from .data import DistillationDataset
from .digests import digest_of_file, digests_of_split
from .flags import check_task_flags, flags_of_run, take_from_criterion
from .model import MixKDRobertaModel, drop_nulls
from .pairing import PAIRINGS
from .position import ResumableBatches
from .preflight import check_dictionaries, fingerprint
from .splits import load_split, wants
from .steps import fetched, nothing, one_row
from .student_init import initialise_student
from .task_config import MixKDSentencePredictionConfig
from .teacher import Reads
from .teacher_data import TeacherData
from .teacher_files import TeacherFiles
from .teacher_outputs import TeacherOutputs
from .teacher_setup import set_up_teacher
from .wrapped import check_wrapper, own_copy, unwrapped

logger = logging.getLogger(__name__)


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
        self.trains = False
        self._weights: Dict[str, float] = {}
        self._num_workers = 0
        self._recorded_teachers: Optional[Dict[str, str]] = None
        self._teacher_data: Optional[TeacherData] = None
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
        # A rank may load a student while others do not. (fairseq 0.12.2 does not say so.)
        if kwargs.get("from_checkpoint"):
            with ranks.alone():
                return cls._set_up(cfg, **kwargs)
        task = cls._set_up(cfg, **kwargs)
        if ranks.world_size() > 1:
            known = fingerprint(task.dictionary, task._classes)
            content = {f"{what} of the data": value for what, value in known.items()}
            ranks.check_equal({**flags_of_run(cfg), **content})
        return task

    @classmethod
    def _set_up(cls, cfg, **kwargs):
        with ranks.together():
            take_from_criterion(cfg)
            check_task_flags(cfg)
            check_dictionaries(f"data folder {cfg.data}", cfg.data, cfg.regression_target)
            return super().setup_task(cfg, **kwargs)

    @classmethod
    def load_dictionary(cls, filename):
        """fairseq's.

        Raises:
            ValueError: naming the file, where it cannot be read.
        """
        try:
            return super().load_dictionary(filename)
        except Exception as error:  # of several kinds, most of which do not name it
            reason = " ".join(str(error).split())
            raise ValueError(f"{filename} must be a dictionary of fairseq: {reason}") from error

    def declare_weights(self, weights: Dict[str, float]) -> None:
        """Called by the criterion: what each term of the loss weighs."""
        self._weights = weights

    def _wants(self, *terms: str) -> bool:
        return wants(self._weights, *terms)

    @property
    def _texts_return(self) -> bool:
        return self.cfg.shorten_method != "random_crop"

    @property
    def _mixing(self) -> bool:
        return self._wants("sm", "tmkd")

    def load_dataset(self, split, combine=False, **kwargs):
        """Load a split, checking its labels; the training split with its fraction and its mixes.

        Raises:
            ValueError: on every rank, where a rank cannot load it or has another.
        """
        folders = {"the data": self.cfg.data}
        if self._teacher_data is not None:
            folders["--teacher-data"] = self._teacher_data.folder
        with ranks.together():
            load = partial(super().load_dataset, split, combine, **kwargs)
            dataset = load_split(
                self.cfg, split, combine, load, self._classes, self._weights, self._teacher_data
            )
            self.datasets[split] = dataset
        if ranks.world_size() > 1:
            reads = ranks.is_first([os.path.realpath(folder) for folder in folders.values()])
            with ranks.together():
                digests = digests_of_split(folders, split) if reads else None
            ranks.check_equal(digests)
        return dataset

    def build_model(self, cfg, from_checkpoint=False):
        if not from_checkpoint:  # training begins
            self.trains = True
            PAIRINGS.find(str(self.cfg.mixup_pairing))
            where = self.cfg.save_dir, self.cfg.restore_file, self.cfg.checkpoint_suffix
            state = resume.find_on_every_rank(*where)
            resumes = state is not None
            if resumes and not (self.cfg.reset_optimizer or self.cfg.reset_dataloader):
                self._recorded_teachers = state.get("teachers")  # else it is another run
            if self.cfg.teacher_data is not None:
                self._teacher_data = TeacherData.open(self.cfg, self._teacher_files, self._classes)
        drop_nulls(cfg)
        model = super().build_model(cfg, from_checkpoint)
        # a checkpoint's student is complete, also in a run that resumes: the file it began from may
        # be gone
        if not from_checkpoint and isinstance(model, MixKDRobertaModel):
            model.leave_language_model_head_out()
            path, layers = model.args.student_init_path, model.args.student_init_layers
            if path is not None and not resumes:  # on every rank the same
                with ranks.together():
                    initialise_student(model, path, layers)
                    digest = digest_of_file(path)[:16] if ranks.world_size() > 1 else None
                ranks.check_equal({f"the content of --student-init-path {path}": digest})
        return model

    def get_batch_iterator(self, dataset, *args, **kwargs):
        """fairseq's, over a dataset with an epoch of its own where that matters.

        Else validating on the training split would set the mixes of training back to epoch 1.
        """
        split = unwrapped(dataset)
        if not split.can_reuse_epoch_itr_across_epochs:
            dataset = own_copy(dataset)
            split = unwrapped(dataset)
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)
        check_wrapper(dataset, kwargs.get("epoch", split.epoch))
        if "grouped_shuffling" in kwargs:  # for training, not for validation on the same split
            self._training_split, self._training_batches = split, len(iterator)
            processes, examples = kwargs.get("num_shards", 1), len(split.eligible_ids)
            if examples < processes:
                raise ValueError(
                    f"--distributed-world-size {processes}: split {split.split!r} has "
                    f"{examples} examples; allowed is at most one process for each"
                )
            ResumableBatches.take_over(iterator, self.cfg.update_freq)
        self._num_workers = kwargs.get("num_workers", 0)
        return iterator

    def begin_epoch(self, epoch, model):
        """Before the first update, and at each epoch: know what the teacher says to what returns.

        Only training sets a teacher up.
        """
        super().begin_epoch(epoch, model)
        if self._mixing and not getattr(model, "supports_mixup", False):
            raise ValueError(
                "mixed examples need a student of --arch mixkd_roberta or one of its named "
                "architectures, or one that extends mixkd_plugin.MixupModel, got "
                f"{type(model).__name__}"
            )
        if self.teacher_outputs is None:
            self.teacher_outputs = self._set_up_teacher(model)
        outputs, cfg = self.teacher_outputs, self.cfg
        if outputs is None or not self._texts_return:
            return
        less_than_an_epoch = 0 < cfg.max_update * max(cfg.update_freq) < self._training_batches
        if less_than_an_epoch and not cfg.teacher_cache:
            return
        if self._wants("kd"):
            outputs.prepare_clean(self._can_be_read(cfg.train_subset, model))
        if self._wants("tmkd") and (cfg.mixup_period > 0 or cfg.teacher_cache):
            # the iterator of this epoch was made over this copy of the split a moment ago
            outputs.prepare_mixes(self._training_split, keep=cfg.mixup_period > 0)

    def begin_valid_epoch(self, epoch, model):
        """Know what the teacher says to what is validated on, and forget the last validation.

        fairseq adds all validations up in meters that are saved and never shown.
        """
        super().begin_valid_epoch(epoch, model)
        metrics.reset_meters("valid")
        if self.teacher_outputs is None or not self._texts_return:
            return
        for split in self.cfg.valid_subset.split(","):
            if split in self.datasets:
                self.teacher_outputs.prepare_clean(self._can_be_read(split, model))

    def _can_be_read(self, split: str, model) -> DistillationDataset:
        """The split without texts that are too long for student and teacher."""
        return unwrapped(self.datasets[split]).up_to(
            min(self.max_positions(), model.max_positions())
        )

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's step; a rank without a batch of its own is given any batch to compute for zero.

        It adds nothing to the sample size and to what is logged either: fairseq sees to that where
        a whole update of the rank is made of such batches, and a part of it may be.

        One row of it is enough. It is of a validation batch once a validation iterator was made,
        without a partner: it then mixes with itself, so that the rank computes and logs the terms
        the others do.
        """
        # fairseq, looking for a nan, computes its batch without ignoring it
        for_nothing = ignore_grad or (self._mixing and "partner" not in sample)
        if for_nothing:
            sample = one_row(sample, self._mixing)
        loss, sample_size, output = super().train_step(
            sample, model, criterion, optimizer, update_num, ignore_grad
        )
        if for_nothing:
            sample_size = nothing(sample_size)
            output = {name: nothing(value) for name, value in output.items()}
        return loss, sample_size, output

    def valid_step(self, sample, model, criterion):
        """fairseq's; nothing of the empty batch of a process of ``fairseq-validate``."""
        return super().valid_step(sample, model, criterion) if sample else (0, 0, {})

    def reduce_metrics(self, logging_outputs, criterion):
        super().reduce_metrics(fetched(logging_outputs), criterion)

    @cached_property
    def _teacher_files(self) -> TeacherFiles:
        """All ranks ask for it at the same time."""
        return TeacherFiles(self.cfg.teacher_path.split(os.pathsep), str(self.cfg.teacher_read_by))

    def _set_up_teacher(self, student) -> Optional[TeacherOutputs]:
        """None without a teacher, where no loss needs one."""
        cfg = self.cfg
        if not cfg.teacher_path:
            terms = [term for term in ("kd", "tmkd") if self._wants(term)]
            if terms:
                flags = [f"--{term}-weight {self._weights[term]:g}" for term in terms]
                raise ValueError(f"--teacher-path is missing: {' and '.join(flags)} need a teacher")
            return None
        files = self._teacher_files
        files.check_recorded(self._recorded_teachers)
        self.state.merge_state_dict({"teachers": files.digests})
        if self._teacher_data is not None:
            reads = self._teacher_data.reads
        else:
            reads = Reads(cfg.data, self.dictionary, cfg.init_token, cfg.separator_token)
        positions = min(self.max_positions(), student.max_positions())
        splits = map(unwrapped, self.datasets.values())
        lengths = [split.up_to(positions).teacher_lengths for split in splits]
        longest = max((int(of_split.max(initial=0)) for of_split in lengths), default=0)
        return set_up_teacher(cfg, reads, self._classes, longest, files, student, self._num_workers)
