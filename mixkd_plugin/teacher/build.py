"""The teacher of a run: its files, the data that it reads, and then its logits."""

from typing import Dict, Optional

import torch
from fairseq.data import Dictionary

from .. import distributed
from ..fingerprints import READ, digests_of_code, digests_of_imports, fingerprint
from .disk_cache import OutputCache
from .ensemble import DTYPES, Teacher, TeacherInput, TeacherRequirements, load_teacher
from .files import TeacherFiles, split_paths
from .logits import TeacherLogits
from .teacher_data import TeacherData


class RunTeacher:
    """What ``--teacher-path`` and the flags beside it name. All ranks call each method together.

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
        """Before the first split is loaded, so that each has what the teacher reads."""
        if self.data is None and self._cfg.teacher_data is not None:
            self.data = TeacherData.open(self._cfg, self.open_files(), self._labels)

    def open_files(self) -> TeacherFiles:
        if self._files is None:
            with distributed.raise_on_all_ranks():
                paths = split_paths(self._cfg.teacher_path)
            self._files = TeacherFiles(paths, str(self._cfg.teacher_read_by))
        return self._files

    def set_up(self, student: torch.nn.Module, longest: int, num_workers: int) -> TeacherLogits:
        """Load it: at once, where it has no cache.

        Args:
            student: decides about device, type and padding
            longest: tokens of the longest text whose logits may be needed
            num_workers: processes that load data while logits are computed

        Raises:
            ValueError: on every rank, naming the file or the flag and what is wrong with it.
        """
        cfg, files, labels = self._cfg, self.open_files(), self._labels
        if self.data is not None:
            reads = self.data.reads
        else:
            reads = TeacherInput(cfg.data, self._dictionary, cfg.init_token, cfg.separator_token)
        required = TeacherRequirements(
            reads, labels, cfg.classification_head_name, cfg.num_classes, longest
        )
        device = next(student.parameters()).device
        dtype = _dtype(cfg, device)
        padding_free = getattr(student, "padding_free", True)
        cache = None
        if cfg.teacher_cache:
            settings = {
                "weights": cfg.teacher_weights,
                "dtype": str(dtype),
                "padding_free": padding_free,
                "head": required.head,
                "num_classes": required.num_classes,
                "init_token": reads.init_token,
                "separator_token": reads.separator_token,
                **fingerprint(reads.dictionary, labels),
            }
            digests = [files.digests[path] for path in files.paths]
            cache = OutputCache(
                cfg.teacher_cache, digests, settings, reads.data, lambda: _digests_of_code(cfg)
            )
            with distributed.raise_on_all_ranks():
                if distributed.rank() == 0:
                    cache.make_folder()

        def load() -> Teacher:
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
        if cache is None:  # whatever is wrong with the teacher is said before the first update
            logits.load()
        return logits


def _digests_of_code(cfg) -> Dict[str, str]:
    """Of other packages that may compute logits: edited, they must not find those of before.

    Those of ours outlive a version; ``disk_cache.FORMAT`` says when not.
    """
    digests = digests_of_code(cfg.user_dir, (".py", *READ))
    digests.pop(__name__.partition(".")[0], None)
    unknown = [name for name, digest in digests.items() if not digest]
    if unknown:
        raise ValueError(
            f"--teacher-cache {cfg.teacher_cache}: module {unknown[0]} has no file, so that its "
            "models' logits could not be told from another version's; put them into a package"
        )
    if not digests:
        return {}
    imports = digests_of_imports().items()
    return {**{n: d for n, d in imports if n.partition(".")[0] not in digests}, **digests}


def _dtype(cfg, device: torch.device) -> torch.dtype:
    """The type to compute in: ``auto`` is what the student computes in."""
    if cfg.teacher_dtype != "auto":
        return DTYPES[cfg.teacher_dtype]
    if cfg.fp16 or (cfg.amp and device.type == "cuda"):
        return torch.float16
    return torch.bfloat16 if cfg.bf16 else torch.float32
