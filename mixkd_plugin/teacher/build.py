"""The teacher of a run: its files, its data, and its logits."""

from importlib.metadata import version
from typing import Dict, List, Optional

import torch
from fairseq.data import Dictionary

from .. import distributed
from ..checkpoints.hf_weights import folder_of
from ..data.mixup_kinds import MIXUP_KINDS
from ..fingerprints import class_names, digests_of_code, digests_of_imports, fingerprint
from ..names import class_name, join_names, split_names
from .disk_cache import LogitsCache
from .ensemble import DTYPES, TeacherEnsemble, TeacherInput, TeacherRequirements, load_teacher
from .files import TeacherFiles, split_paths
from .logits import TeacherLogits
from .teacher_data import TeacherData


class TeacherSetup:
    """The teacher of ``--teacher-path`` and related flags. All ranks call each method.

    Args:
        cfg: the task's
        dictionary: of the student's data
        labels: its classes; None for regression
    """

    def __init__(self, cfg, dictionary: Dictionary, labels: Optional[Dictionary]):
        self._cfg = cfg
        self._dictionary = dictionary
        self._labels = labels
        self._files: Optional[TeacherFiles] = None
        self.data: Optional[TeacherData] = None

    def open_data(self) -> None:
        """Read the layout of the teacher's data; called before the first split is loaded."""
        if self.data is None and self._cfg.teacher_data is not None:
            self.data = TeacherData.open(self._cfg, self.open_files(), self._labels)

    def open_files(self) -> TeacherFiles:
        if self._files is None:
            with distributed.raise_on_all_ranks():
                paths = split_paths(self._cfg.teacher_path)
            self._files = TeacherFiles(paths, str(self._cfg.teacher_read_by))
        return self._files

    def set_up(self, student: torch.nn.Module, longest: int, num_workers: int) -> TeacherLogits:
        """Prepare its logits; without a cache, load it now.

        Args:
            student: determines device, type and padding
            longest: tokens of the longest text whose logits may be needed
            num_workers: processes that load data while logits are computed

        Raises:
            ValueError: on every rank, with the file or the flag.
        """
        cfg, files, labels = self._cfg, self.open_files(), self._labels
        if self.data is not None:
            reads = self.data.reads
        else:
            reads = TeacherInput(cfg.data, self._dictionary, cfg.init_token, cfg.separator_token)
        required = TeacherRequirements(
            reads, labels, cfg.classification_head_name, cfg.num_classes, longest, cfg.multi_label,
            teacher_order(cfg.teacher_labels, labels),
        )  # fmt: skip
        device = next(student.parameters()).device
        dtype = _dtype(cfg, device)
        padding_free = getattr(student, "padding_free", True)
        cache = self._open_cache(required, dtype, padding_free) if cfg.teacher_cache else None

        def load() -> TeacherEnsemble:
            with distributed.raise_on_all_ranks():
                files.check_unchanged()
            with distributed.one_reader(files.read_by) as group:
                teacher = load_teacher(
                    files.paths, cfg.teacher_weights, required, dtype, device, padding_free, group
                )
            with distributed.raise_on_all_ranks():
                files.check_unchanged()
            return teacher

        own_tokens = self.data is not None
        logits = TeacherLogits(load, cfg.num_classes, device, num_workers, cache, own_tokens)
        if cache is None:  # problems of the teacher are found before the first update
            logits.load()
        return logits

    def _open_cache(
        self, required: TeacherRequirements, dtype: torch.dtype, padding_free: bool
    ) -> LogitsCache:
        """The cache for this teacher's logits, whose folder exists."""
        cfg, files, reads = self._cfg, self.open_files(), required.reads
        settings = {
            "weights": cfg.teacher_weights,
            "dtype": str(dtype),
            "padding_free": padding_free,
            "head": required.head,
            "num_classes": required.num_classes,
            "init_token": reads.init_token,
            "separator_token": reads.separator_token,
            **fingerprint(reads.dictionary, required.labels),
        }
        if cfg.multi_label:
            settings["multi_label"] = True
        if reads.init_token is None:  # <s> may be in the texts: once a word for splices
            settings["beginning"] = "special"
        if required.order is not None:
            settings["order"] = required.order
        if any(map(folder_of, files.paths)):  # its code is the model
            settings["transformers"] = version("transformers")
        digests = [files.digests[path] for path in files.paths]
        cache = LogitsCache(
            cfg.teacher_cache, digests, settings, reads.data, lambda: _digests_of_code(cfg)
        )
        with distributed.raise_on_all_ranks():
            if distributed.rank() == 0:
                cache.make_folder()
        return cache


def teacher_order(given: Optional[str], labels: Optional[Dictionary]) -> Optional[List[str]]:
    """The classes of --teacher-labels."""
    order = None if given is None else [class_name(name) for name in split_names(given)]
    classes = [] if labels is None else class_names(labels)
    if order is not None and (not classes or sorted(order) != sorted(classes)):
        rule = f"the data's classes ({join_names(classes)}) in the order of the teacher's outputs"
        rule = rule if classes else "absent for a regression"
        raise ValueError(f"--teacher-labels must be {rule}, got {join_names(order)}")
    return order


def _digests_of_code(cfg) -> Dict[str, str]:
    """Digests of other packages that may compute logits: an edit invalidates cached ones.

    Versions of our package share them; ``disk_cache.FORMAT`` changes if results do.
    """
    rules = [MIXUP_KINDS.find(name) for name in MIXUP_KINDS]
    digests = digests_of_code(cfg.user_dir, True, filter(None, rules))
    digests.pop(__name__.partition(".")[0], None)
    unknown = [name for name, digest in digests.items() if not digest]
    if unknown:
        raise ValueError(
            f"--teacher-cache {cfg.teacher_cache}: module {unknown[0]} must have a file, by which "
            "logits of its versions differ: put its models into a package"
        )
    if not digests:
        return {}
    imports = digests_of_imports().items()
    imported = {n: d for n, d in imports if n.partition(".")[0] not in digests}
    # else logits of before such models' own forward was called would be found
    return {"forward": "called", **imported, **digests}


def _dtype(cfg, device: torch.device) -> torch.dtype:
    """The type to compute in: ``auto`` is the student's."""
    if cfg.teacher_dtype != "auto":
        return DTYPES[cfg.teacher_dtype]
    if cfg.fp16 or (cfg.amp and device.type == "cuda"):
        return torch.float16
    return torch.bfloat16 if cfg.bf16 else torch.float32
