"""A copy of the data in the teacher's own vocabulary: ``--teacher-data``.

Order, batches and mixes are those of the student's split. The copy adds the teacher's tokens of the
same text to each example, in the layout of the teacher's training.
"""

import logging
import os
from argparse import Namespace
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from fairseq.data import Dictionary, FairseqDataset
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from omegaconf import OmegaConf

from .. import distributed
from ..checkpoints.checks import check_dictionaries
from ..checkpoints.hf_weights import folder_of
from ..checkpoints.settings import integer
from ..data.labels import check_texts, class_ids, read_targets
from ..data.wrappers import WithColumn
from ..errors import prefixed
from ..fingerprints import FILE, INPUTS, class_names, fingerprint, parts_of_split, read_digests
from ..models.hf_folder import layout_of
from ..names import as_flag
from .ensemble import TeacherInput, read_state
from .files import TeacherFiles

logger = logging.getLogger(__name__)

TOKENS = "teacher_tokens"  # the column of a split, and of its batches


class Layout(NamedTuple):
    """The layout of texts in a teacher's training: flags of its task."""

    init_token: Optional[int]
    separator_token: Optional[int]
    max_positions: int


def _agreed(paths: Sequence[str]) -> Layout:
    """The layout of all teachers; raises ValueError if a checkpoint lacks it, or two differ."""
    layouts = {path: _layout_of(path) for path in paths}
    if len({layout[:2] for layout in layouts.values()}) > 1:
        found = "; ".join(
            f"{path}: {layout.init_token}, {layout.separator_token}"
            for path, layout in layouts.items()
        )
        raise ValueError(
            "--teacher-path must have teachers with equal --init-token and --separator-token for "
            f"--teacher-data, got {found}"
        )
    shortest = min(layout.max_positions for layout in layouts.values())
    return next(iter(layouts.values()))._replace(max_positions=shortest)


def _layout_of(path: str) -> Layout:
    folder = folder_of(path)
    task = read_state(path)["cfg"]["task"] if folder is None else {}
    with prefixed(f"--teacher-path {path}"):
        if folder is not None:
            return Layout(**layout_of(folder))
        missing = [name for name in Layout._fields if name not in task]
        if not missing and task["max_positions"] is None:
            missing = ["max_positions"]
        if missing:
            raise ValueError(
                f"its task must have {as_flag(missing[0])} for --teacher-data, got task "
                f"{task.get('_name')} without it"
            )
        return Layout(*(integer(task, name) for name in Layout._fields))


class TeacherData:
    """The copy, compared with the student's data.

    Args:
        cfg: the student's task's
        layout: of its texts
        labels: the student's classes; None for regression

    Raises:
        ValueError: for ``--teacher-data`` without a dictionary or with other classes.
    """

    def __init__(self, cfg, layout: Layout, labels: Optional[Dictionary]):
        self.folder: str = cfg.teacher_data
        self._flag = f"--teacher-data {self.folder}"
        self._student: str = cfg.data
        self._multi_label: bool = cfg.multi_label
        check_dictionaries(self._flag, self.folder, labels is None)
        settings = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        settings.update(layout._asdict(), data=self.folder)
        # positions are those of the binarised split, and only the student has targets
        settings.update(no_shuffle=True, add_prev_output_tokens=False, d2v2_multi=False)
        self._task = SentencePredictionTask.setup_task(Namespace(**settings))
        self._labels = None if labels is None else self._task.label_dictionary
        self.reads = TeacherInput(self.folder, self._task.dictionary, *layout[:2], flag=self._flag)
        if labels is not None and class_names(self._labels) != class_names(labels):
            raise ValueError(
                f"{self._flag}: its classes must be those of {cfg.data}, in their order, "
                f"{class_names(labels)}, got {class_names(self._labels)}"
            )

    @classmethod
    def open(cls, cfg, files: TeacherFiles, labels: Optional[Dictionary]) -> "TeacherData":
        """The copy for the teachers of ``files``, equal on every rank. All ranks raise an error."""
        with distributed.one_reader(files.read_by) as group:
            with distributed.raise_on_all_ranks():
                layout = _agreed(files.paths) if group.is_source else None
            layout = group.broadcast(layout)
        with distributed.raise_on_all_ranks():
            data = cls(cfg, layout, labels)
        known = fingerprint(data.reads.dictionary, data._labels)
        distributed.check_equal({f"{what} of --teacher-data": v for what, v in known.items()})
        return data

    def add_to(
        self, dataset: FairseqDataset, split: str, combine: bool, ours: np.ndarray, unlabelled: bool
    ) -> WithColumn:
        """The student's split, whose batches get ``teacher_tokens``, (B, T'), of the same texts.

        Args:
            combine: whether ``split1`` and so on belong to it
            ours: targets of the student's examples, as :func:`labels.read_targets` has them
            unlabelled: whether an example may have no label

        Raises:
            ValueError: with ``--teacher-data``, the split and the difference.
        """
        # fairseq asserts that inputs exist
        with prefixed(f"{self._flag}: split {split!r}", (AssertionError, ValueError)):
            check_texts(self.folder, split, self._task.dictionary, combine)
            loaded = self._task.load_dataset(split, combine)
            classes = self._task.cfg.num_classes
            theirs = read_targets(
                self.folder, split, self._labels, classes, combine, unlabelled, self._multi_label
            )
            self._check_labels(ours, theirs)
            self._check_texts(split, combine)
        return WithColumn(dataset, TOKENS, loaded.defn["net_input.src_tokens"])

    def _check_labels(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Compare the labels; examples without a label in one of the copies are skipped."""
        if len(ours) != len(theirs):
            raise ValueError(f"{len(theirs)} examples; {self._student} has {len(ours)}")
        differ = ~np.isclose(ours, theirs)
        differ = differ if differ.ndim == 1 else differ.any(axis=1)
        bad = np.flatnonzero(differ & (class_ids(ours) >= 0) & (class_ids(theirs) >= 0))
        if len(bad):
            raise ValueError(
                f"example {bad[0]} has the label {self._shown(theirs[bad[0]])}, in "
                f"{self._student} it has {self._shown(ours[bad[0]])} ({len(bad)} such examples): "
                "give the same texts in the same order"
            )

    def _shown(self, target) -> str:
        if np.ndim(target):
            return " ".join(f"{value:g}" for value in target)
        return repr(self._labels[target + self._labels.nspecial])

    def _check_texts(self, split: str, combine: bool) -> None:
        """Compare texts by their number in an example, and by digests if both folders have them."""
        folders = (self._student, self.folder)
        ours, theirs = (_columns(folder, split) for folder in folders)
        if ours != theirs:
            raise ValueError(
                f"it has {' and '.join(theirs)}; {self._student} has {' and '.join(ours)}"
            )
        parts = list(parts_of_split(os.path.join(self._student, "input0"), split, combine))
        ours, theirs = (read_digests(folder) for folder in folders)
        for part in parts:
            if part in ours and part in theirs and ours[part] != theirs[part]:
                raise ValueError(
                    f"other texts than in {self._student}, by {FILE} of both folders"
                    f"{f' ({part})' if len(parts) > 1 else ''}"
                )
        if not all(part in ours and part in theirs for part in parts):
            logger.warning(
                "%s: the texts of split %r were not compared with those of %s: both folders need "
                "the %s that `mixkd encode` writes",
                *(self._flag, split, self._student, FILE),
            )


def _columns(folder: str, split: str) -> List[str]:
    paths = {column: os.path.join(folder, column, f"{split}.idx") for column in INPUTS}
    return [column for column, path in paths.items() if os.path.exists(path)]
