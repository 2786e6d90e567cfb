"""The teacher of a run, put together by its task's configuration."""

from typing import Dict, Optional

import torch
from fairseq.data import Dictionary

from . import ranks
from .digests import READ, digests_of_code, digests_of_imports
from .output_cache import OutputCache
from .preflight import fingerprint
from .teacher import DTYPES, Expected, Reads, Teacher, load_teacher
from .teacher_files import TeacherFiles
from .teacher_outputs import TeacherOutputs


def set_up_teacher(
    cfg,
    reads: Reads,
    labels: Optional[Dictionary],
    longest: int,
    files: TeacherFiles,
    student: torch.nn.Module,
    num_workers: int,
) -> TeacherOutputs:
    """The teacher of a run, by its task's configuration; loaded at once where it has no cache.

    Args:
        cfg: the task's
        reads: what it reads
        labels: None for regression
        longest: tokens of the longest text that it may be asked about
        files: its checkpoints
        student: decides about device, type and padding
        num_workers: processes that load data while answers are computed
    """
    expected = Expected(reads, labels, cfg.classification_head_name, cfg.num_classes, longest)
    device = next(student.parameters()).device
    dtype = _dtype(cfg, device)
    padding_free = getattr(student, "padding_free", True)
    cache = None
    if cfg.teacher_cache:
        settings = {
            "weights": cfg.teacher_weights,
            "dtype": str(dtype),
            "padding_free": padding_free,
            "head": expected.head,
            "num_classes": expected.num_classes,
            "init_token": reads.init_token,
            "separator_token": reads.separator_token,
            **fingerprint(reads.dictionary, labels),
        }
        digests = [files.digests[path] for path in files.paths]
        cache = OutputCache(
            cfg.teacher_cache, digests, settings, reads.data, lambda: _digests_of_code(cfg)
        )
        with ranks.together():
            if ranks.rank() == 0:
                cache.make_folder()

    def load() -> Teacher:
        with ranks.together():
            files.check_unchanged()
        with ranks.one_reader(files.read_by) as circle:
            teacher = load_teacher(
                files.paths, cfg.teacher_weights, expected, dtype, device, padding_free, circle
            )
        with ranks.together():
            files.check_unchanged()
        return teacher

    own = cfg.teacher_data is not None
    outputs = TeacherOutputs(load, expected.num_classes, device, num_workers, cache, own)
    if cache is None:  # whatever is wrong with the teacher is said before the first update
        outputs.load()
    return outputs


def _digests_of_code(cfg) -> Dict[str, str]:
    """Of other packages that may compute an answer: edited, they must not find those of before.

    Ours keeps its answers from one version to the next; ``output_cache.FORMAT`` says when not.
    """
    digests = digests_of_code(cfg.user_dir, (".py", *READ))
    digests.pop(__name__.partition(".")[0], None)
    unknown = [name for name, digest in digests.items() if not digest]
    if unknown:
        raise ValueError(
            f"--teacher-cache {cfg.teacher_cache}: module {unknown[0]} has no file, so that its "
            "models' answers could not be told from another version's; put them into a package"
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
