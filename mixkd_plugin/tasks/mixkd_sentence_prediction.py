"""The task: fairseq's ``sentence_prediction`` with a plan of mixes and a frozen teacher."""

import logging
import os
from functools import cached_property, partial
from typing import Dict, List, Optional

from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from omegaconf import open_dict
from torch.nn import Parameter

from .. import distributed
from ..checkpoints import recovery
from ..checkpoints.checks import check_dictionaries, fingerprint
from ..checkpoints.recovery import FINETUNE, LAYER_NORM_EPS
from ..data.mixup_dataset import DistillationDataset
from ..data.mixup_plan import PAIRINGS
from ..data.wrappers import check_wrapper, own_copy, unwrapped
from ..fairseq_fixes.dummy_batch_mark import mark_dummy_batch
from ..fairseq_fixes.epoch_position import ResumableBatches
from ..fairseq_fixes.refused_flags import check_model_flags, check_saving
from ..fairseq_fixes.resume import Resumable
from ..fingerprints import digest_of_file, digests_of_code, digests_of_split
from ..models.mixkd_roberta import MixKDRobertaModel, drop_nulls
from ..models.student_init import initialise_student
from ..teacher.build import set_up_teacher
from ..teacher.ensemble import TeacherInput
from ..teacher.files import TeacherFiles, split_paths
from ..teacher.logits import TeacherOutputs
from ..teacher.teacher_data import TeacherData
from .config import MixKDSentencePredictionConfig
from .dummy_batch import dummy_sample, stop_where_not_finite, to_cpu, zeros_like_logging_output
from .flags import check_data_folder, check_task_flags, flags_of_run, take_from_criterion
from .load_split import configured_weights, load_split, wants

logger = logging.getLogger(__name__)


@register_task("mixkd_sentence_prediction", dataclass=MixKDSentencePredictionConfig)
class MixKDSentencePredictionTask(Resumable, SentencePredictionTask):
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
        self._serves = False
        self._weights = configured_weights(cfg)
        self._num_workers = 0
        self._left_out: List[Parameter] = []
        self._without_gradient: List[Parameter] = []
        self._training_split: Optional[DistillationDataset] = None
        self._training_batches = 0
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
        if kwargs.get("from_checkpoint"):  # a rank may load a student while others do not
            with distributed.no_collectives():
                task = cls._set_up(cfg, **kwargs)
            task._serves, task._weights = True, {}  # until a criterion of its own is built
            return task
        task = cls._set_up(cfg, **kwargs)
        if distributed.world_size() > 1:
            known = fingerprint(task.dictionary, task._classes)
            content = {f"{what} of the data": value for what, value in known.items()}
            code = digests_of_code(cfg.user_dir)
            content.update({f"the code of {name}": digest[:16] for name, digest in code.items()})
            distributed.check_equal({**flags_of_run(cfg), **content})
        return task

    @classmethod
    def _set_up(cls, cfg, **kwargs):
        with distributed.raise_on_all_ranks():
            take_from_criterion(cfg)
            check_task_flags(cfg)
            check_dictionaries(f"data folder {cfg.data}", cfg.data, cfg.regression_target)
            return super().setup_task(cfg, **kwargs)

    def declare_weights(self, weights: Dict[str, float]) -> None:
        """Called by the criterion: what each term of the loss weighs.

        A run's configuration says so before there is a criterion. Where it does not, a training
        split that was loaded earlier has no mixes, and :meth:`train_step` refuses its batches.
        """
        self._weights = weights

    def _wants(self, *terms: str) -> bool:
        return wants(self._weights, *terms)

    @property
    def _inputs_are_deterministic(self) -> bool:
        return self.cfg.shorten_method != "random_crop"

    @property
    def _mixing(self) -> bool:
        return self._wants("sm", "tmkd")

    def load_dataset(self, split, combine=False, **kwargs):
        """Load a split, checking its labels; the training split with its fraction and its mixes.

        Raises:
            ValueError: on every rank, where a rank cannot load it or has another.
        """
        if not self._serves:
            self._open_teacher_data()
        folders = {"the data": self.cfg.data}
        if self._teacher_data is not None:
            folders["--teacher-data"] = self._teacher_data.folder
        with distributed.raise_on_all_ranks():
            load = partial(super().load_dataset, split, combine, **kwargs)
            dataset = load_split(
                self.cfg, split, combine, load, self._classes, self._weights, self._teacher_data
            )
            self.datasets[split] = dataset
        if distributed.world_size() > 1:
            reads = distributed.is_first([os.path.realpath(folder) for folder in folders.values()])
            with distributed.raise_on_all_ranks():
                digests = digests_of_split(folders, split, combine) if reads else None
            distributed.check_equal(digests)
        return dataset

    def build_model(self, cfg, from_checkpoint=False):
        if not from_checkpoint:  # training begins
            self.trains = True
            check_data_folder(self.cfg.data)
            PAIRINGS.find(str(self.cfg.mixup_pairing))
            self._begin(cfg)
            self._open_teacher_data()
        drop_nulls(cfg)
        model = super().build_model(cfg, from_checkpoint)
        # a checkpoint's student is complete, also in a run that resumes: the file it began from may
        # be gone
        if not from_checkpoint and isinstance(model, MixKDRobertaModel):
            model.leave_language_model_head_out()
            self._left_out = model.left_out()
            if self.origin is not None and model.args.layer_norm_eps is None:
                model.set_layer_norm_eps(self.origin.settings[LAYER_NORM_EPS])
            path, layers = model.args.student_init_path, model.args.student_init_layers
            if path is not None:
                self._check_one_beginning(path)
            if path is not None and self.origin is None:  # on every rank the same
                with distributed.raise_on_all_ranks():
                    initialise_student(model, path, layers)
                    digest = digest_of_file(path)[:16] if distributed.world_size() > 1 else None
                distributed.check_equal({f"the content of --student-init-path {path}": digest})
        return model

    def _open_teacher_data(self) -> None:
        """Before the first split is loaded, so that each has what the teacher reads."""
        if self._teacher_data is None and self.cfg.teacher_data is not None:
            self._teacher_data = TeacherData.open(self.cfg, self._teacher_files, self._classes)

    def _begin(self, cfg) -> None:
        """Before a model is built to be trained: what this run begins from, and whether it fits."""
        run = self.cfg._get_root()
        if "checkpoint" not in run:  # a task alone, in a notebook: nothing is saved or resumed
            return
        check_saving(run)
        check_model_flags(cfg)
        self.origin = origin = recovery.find_on_every_rank(run)
        if origin is not None:
            reset = self.cfg.reset_optimizer or self.cfg.reset_dataloader  # then it is another run
            goes_on = not reset and origin.flag != FINETUNE
            recovery.check_content(origin, fingerprint(self.dictionary, self._classes), goes_on)
            if goes_on:
                self._recorded_teachers = origin.task_state.get("teachers")

    def _check_one_beginning(self, student_init_path: str) -> None:
        """A file that another flag names would silently overwrite it; the run's own may."""
        run = self.cfg._get_root().checkpoint
        flags = {FINETUNE: run.finetune_from_model, "--continue-once": run.continue_once}
        if self.origin is not None and self.origin.flag == "--restore-file":
            flags["--restore-file"] = self.origin.path
        for flag, path in flags.items():
            if path is not None:
                raise ValueError(
                    f"--student-init-path {student_init_path} must be given without {flag}, got "
                    f"{flag} {path}: all weights would be the latter's; leave one of them out"
                )

    def get_batch_iterator(self, dataset, *args, **kwargs):
        """fairseq's, over a dataset with an epoch of its own where that matters.

        Else validating on the training split would set the mixes of training back to epoch 1, or
        take batches out of training's own iterator, which fairseq keeps by dataset.
        """
        trains = "grouped_shuffling" in kwargs  # else it validates, maybe on the same split
        split = unwrapped(dataset)
        kept = self.dataset_to_epoch_iter.get(dataset)
        of_the_other = kept is not None and trains != isinstance(kept, ResumableBatches)
        if of_the_other or not split.can_reuse_epoch_itr_across_epochs:
            dataset = own_copy(dataset)
            split = unwrapped(dataset)
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)
        check_wrapper(dataset, kwargs.get("epoch", split.epoch))
        if not trains:
            mark_dummy_batch(iterator)
        if trains:
            self._training_split, self._training_batches = split, len(iterator)
            processes = kwargs.get("num_shards", 1)
            examples = sum(len(batch) for batch in iterator.frozen_batches)
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
        self._check_student(model)
        if self.teacher_outputs is None:
            self.teacher_outputs = self._set_up_teacher(model)
        outputs, cfg = self.teacher_outputs, self.cfg
        if outputs is None or not self._inputs_are_deterministic:
            return
        less_than_an_epoch = 0 < cfg.max_update * max(cfg.update_freq) < self._training_batches
        if less_than_an_epoch and not cfg.teacher_cache:
            return
        if self._wants("kd"):
            outputs.prepare_clean(self._within_max_positions(cfg.train_subset, model))
        returns = cfg.mixup_period > 0 or cfg.teacher_cache
        if self._wants("tmkd") and returns and self._training_split is not None:
            # the iterator of this epoch was made over this copy of the split a moment ago
            outputs.prepare_mixes(self._training_split, keep=cfg.mixup_period > 0)

    def _check_student(self, model) -> None:
        """An encoder and decoder (BART) is fine-tuned, and not distilled into."""
        use = None
        if self._mixing and not getattr(model, "supports_mixup", False):
            use = "mixed examples need"
        elif self.cfg.teacher_path and not isinstance(model.max_positions(), int):
            use = "--teacher-path needs"
        if use is not None:
            arch = self.cfg._get_root().model._name
            raise ValueError(
                f"{use} a student of --arch mixkd_roberta or one of its named architectures, or "
                f"one that extends mixkd_plugin.MixupModel, got --arch {arch}"
            )

    def begin_valid_epoch(self, epoch, model):
        """Know what the teacher says to what is validated on, and forget the last validation.

        fairseq adds all validations up in meters that are saved and never shown.
        """
        super().begin_valid_epoch(epoch, model)
        metrics.reset_meters("valid")
        if self.teacher_outputs is None or not self._inputs_are_deterministic:
            return
        for split in self.cfg.valid_subset.split(","):
            if split in self.datasets:
                self.teacher_outputs.prepare_clean(self._within_max_positions(split, model))

    def _within_max_positions(self, split: str, model) -> DistillationDataset:
        """The split without texts that are too long for student and teacher."""
        return unwrapped(self.datasets[split]).filter_by_length(
            min(self.max_positions(), model.max_positions())
        )

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's step; a rank without a batch of its own is given any batch to compute for zero.

        It adds nothing to the sample size and to what is logged either: fairseq sees to that where
        a whole update of the rank is made of such batches, and a part of it may be.

        One row of it is enough. It is of a validation batch once a validation iterator was made,
        without a partner: it then mixes with itself, so that the rank computes and logs the terms
        the others do.

        Raises:
            ValueError: where the loss has mixed terms, and a batch of examples has no partners.
        """
        stop_where_not_finite(model, optimizer, update_num)
        # fairseq, looking for a nan, computes its batch without ignoring it
        is_dummy_batch = ignore_grad or sample.get("dummy", False)
        if is_dummy_batch:
            sample = dummy_sample(sample, self._mixing)
        elif self._mixing and "partner" not in sample:
            terms = [f"--{t}-weight {self._weights[t]:g}" for t in ("sm", "tmkd") if self._wants(t)]
            raise ValueError(
                f"{' and '.join(terms)}: a batch of training examples has no mixing partners; load "
                f"split {self.cfg.train_subset!r} by this task's load_dataset, after the criterion "
                "was built"
            )
        loss, sample_size, output = super().train_step(
            sample, model, criterion, optimizer, update_num, ignore_grad
        )
        if is_dummy_batch:
            sample_size = zeros_like_logging_output(sample_size)
            output = {name: zeros_like_logging_output(value) for name, value in output.items()}
        self._without_gradient = [p for p in self._left_out if p.grad is None]
        return loss, sample_size, output

    def optimizer_step(self, optimizer, model, update_num):
        """fairseq's, which decays no weight without a gradient: on any number of processes.

        ``legacy_ddp`` gives the language-model head, which no loss uses, gradients of zero.
        """
        for parameter in self._without_gradient:
            parameter.grad = None
        super().optimizer_step(optimizer, model, update_num)

    def valid_step(self, sample, model, criterion):
        """fairseq's; nothing of the empty batch of a process of ``fairseq-validate``."""
        return super().valid_step(sample, model, criterion) if sample else (0, 0, {})

    def reduce_metrics(self, logging_outputs, criterion):
        outputs = to_cpu(logging_outputs)
        super().reduce_metrics(outputs, criterion)
        if criterion.training and self.cfg.train_subset in self.datasets:
            # exact, which the mean batch, `bsz`, is not: a study counts by them
            examples = len(self.datasets[self.cfg.train_subset])
            metrics.log_scalar("examples", examples, priority=195, round=0)
            seen = sum(output.get("nsentences", 0) for output in outputs)
            metrics.log_scalar_sum("examples_seen", seen, priority=195, round=0)

    @cached_property
    def _teacher_files(self) -> TeacherFiles:
        """All ranks ask for it at the same time."""
        with distributed.raise_on_all_ranks():
            paths = split_paths(self.cfg.teacher_path)
        return TeacherFiles(paths, str(self.cfg.teacher_read_by))

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
            reads = TeacherInput(cfg.data, self.dictionary, cfg.init_token, cfg.separator_token)
        positions = min(self.max_positions(), student.max_positions())
        splits = map(unwrapped, self.datasets.values())
        lengths = [split.filter_by_length(positions).teacher_lengths for split in splits]
        longest = max((int(of_split.max(initial=0)) for of_split in lengths), default=0)
        return set_up_teacher(cfg, reads, self._classes, longest, files, student, self._num_workers)
