"""What the teacher answered, kept by example: computed once, looked up at every step.

Rows whose answer is wanted again (clean examples, and mixes that return or that another run of a
sweep will draw) are computed before they are needed, in batches that depend on the rows alone. So
what is kept is the same, bit for bit, on any number of processes, after an interruption, and read
back from disk. Rows wanted once go through the teacher in the step that wants them.
"""

import logging
import time
from functools import partial
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from . import ranks
from .data import DistillationDataset
from .encoding import split_rows
from .mixup import Mix
from .output_cache import OutputCache
from .teacher import Teacher

logger = logging.getLogger(__name__)

# Tokens in a batch of the teacher: enough to fill a GPU, and far below what training keeps there.
BATCH_TOKENS = 8192

Logits = Optional[Tensor]


class Answers(NamedTuple):
    """Logits in float32, zeros in rows where the teacher's were not finite.

    clean: (B, C), None where not asked for
    mixed: (M, C), None where not asked for
    not_finite: number of such rows, a scalar tensor
    """

    clean: Logits
    mixed: Logits
    not_finite: Tensor


class TeacherOutputs:
    """Answers by lookup where they are known, else by the teacher.

    ``teacher`` is None until it is asked for the first time.

    Args:
        load_teacher: reads and checks it
        num_classes: C, values in an answer
        device: where known answers lie
        num_workers: processes that load data while answers are computed
        cache: where known answers outlive the run
        own_tokens: whether it reads ``teacher_tokens`` of a batch, of a vocabulary of its own
    """

    def __init__(
        self,
        load_teacher: Callable[[], Teacher],
        num_classes: int,
        device: torch.device,
        num_workers: int = 0,
        cache: Optional[OutputCache] = None,
        own_tokens: bool = False,
    ):
        self.teacher: Optional[Teacher] = None
        self._load_teacher = load_teacher
        self._num_classes = num_classes
        self._device = device
        self._num_workers = num_workers
        self._cache = cache
        self._own_tokens = own_tokens
        self._clean: Dict[str, Tensor] = {}  # split -> (n, 1, C)
        self._mixes: Dict[str, Tensor] = {}  # rows -> (n, ratio, C)
        self._current_mixes: Logits = None
        self._current_epoch = 0  # of those

    def load(self) -> None:
        """Load the teacher, if it is not there yet; all ranks at the same time."""
        if self.teacher is None:
            self.teacher = self._load_teacher()

    def prepare_clean(self, dataset: DistillationDataset) -> None:
        """Know the answers to the clean examples of a split."""
        if dataset.split not in self._clean:
            clean = dataset.without_mixes()
            self._clean[dataset.split] = self._answers(clean, clean.rows_digest())

    def prepare_mixes(self, dataset: DistillationDataset, keep: bool) -> None:
        """Know the answers to the mixes of the dataset's epoch; ``keep`` those of other epochs."""
        rows = dataset.rows_digest()
        if rows not in self._mixes:
            if not keep:
                self._mixes.clear()
            self._mixes[rows] = self._answers(dataset, rows)
        self._current_mixes, self._current_epoch = self._mixes[rows], dataset.epoch

    def forget(self, split: str) -> None:
        """A split that is loaded anew may have other examples."""
        self._clean.pop(split, None)
        self._current_mixes = None

    def logits(self, sample: dict, clean: bool, mixed: bool) -> Answers:
        """What the teacher says to a batch, and to its mixes; zeros for a sample of no split."""
        ids, split = sample["id"], sample["split"]
        clean_logits = mixed_logits = None
        zeros = partial(torch.zeros, device=ids.device)
        not_finite = zeros(())
        if split is None:
            return Answers(
                zeros(len(ids), self._num_classes) if clean else None,
                zeros(len(sample["lam"]), self._num_classes) if mixed else None,
                not_finite,
            )
        if clean and split in self._clean:
            clean_logits, clean = self._look_up(self._clean[split], ids), False
        if mixed and self._current_mixes is not None and sample["epoch"] == self._current_epoch:
            mixed_logits, mixed = self._look_up(self._current_mixes, ids), False
        if clean or mixed:  # one pass for both
            self.load()
            tokens, mix = self._read(sample, mixed, ids.device)
            logits = self.teacher.logits(tokens, mix, with_clean=clean)
            finite = torch.isfinite(logits).all(dim=1, keepdim=True)
            not_finite = finite.logical_not().sum()
            # A loss that overflows would end the run in fairseq's words, or look like a loss scale
            # that is too high. So it stays finite until the count has reached all ranks.
            logits = logits.masked_fill(~finite, 0)
            asked_clean, asked_mixed = split_rows(logits, len(ids), clean)
            clean_logits = asked_clean if clean else clean_logits
            mixed_logits = asked_mixed if mixed else mixed_logits
        return Answers(clean_logits, mixed_logits, not_finite)

    def _read(self, sample: dict, mixed: bool, device) -> Tuple[Tensor, Optional[Mix]]:
        """What the teacher reads of a batch: tokens (B, T), and what those are mixed with."""
        tokens = self._tokens(sample).to(device)
        if not mixed:
            return tokens, None
        return tokens, Mix(self._tokens(sample["partner"]).to(device), sample["lam"].to(device))

    def _tokens(self, batch: dict) -> Tensor:
        if not self._own_tokens:
            return batch["net_input"]["src_tokens"]
        if "teacher_tokens" not in batch:
            raise ValueError(
                "--teacher-data: a batch lacks what the teacher reads of it; load each split by "
                "this task's load_dataset, after build_model"
            )
        return batch["teacher_tokens"]

    @staticmethod
    def _look_up(known: Tensor, ids: Tensor) -> Tensor:
        return known[ids].transpose(0, 1).flatten(0, 1)  # row m belongs to example m % B

    def _answers(self, dataset: DistillationDataset, rows: str) -> Tensor:
        """(n, rows of each, C) on every rank; -inf for examples that the dataset leaves out.

        ``rows`` is the dataset's digest.
        """
        shape = (dataset.split_size, dataset.rows_per_example, self._num_classes)
        answers = torch.full(shape, -np.inf, device=self._device)
        ids = torch.from_numpy(dataset.eligible_ids).to(self._device)
        answered = (len(ids), *shape[1:])
        if self._cache is not None:
            with ranks.together():
                stored = None
                if ranks.rank() == 0:  # the only one to use the disk
                    stored = self._cache.load(dataset.split, rows, answered, dataset.combined)
                if stored is not None:
                    answers[ids] = torch.from_numpy(stored).to(self._device)
            ranks.merge_max(answers)
            if torch.isfinite(answers[ids]).all():
                return answers
            answers.fill_(-np.inf)
        self.load()
        with ranks.together():
            self._compute(dataset, answers)
        ranks.merge_max(answers)
        bad = ids[~torch.isfinite(answers[ids]).flatten(1).all(dim=1)]
        if len(bad):
            raise ValueError(
                f"--teacher-path: the answer to example {int(bad[0])} of split {dataset.split!r} "
                f"is not a finite number ({len(bad)} such examples): is --teacher-dtype too narrow?"
            )
        if self._cache is not None:
            with ranks.together():
                if ranks.rank() == 0:
                    known = answers[ids].cpu().numpy()
                    self._cache.store(dataset.split, rows, known, dataset.combined)
        return answers

    def _compute(self, dataset: DistillationDataset, answers: Tensor) -> None:
        """This rank's share of the answers."""
        start = said = time.perf_counter()
        count = len(dataset.eligible_ids) * dataset.rows_per_example
        logger.info("teacher: is asked about %d rows of split %s", count, dataset.split)
        batches = dataset.canonical_batches(BATCH_TOKENS)
        loader = DataLoader(
            dataset,
            batch_sampler=batches[ranks.rank() :: ranks.world_size()],
            collate_fn=dataset.collater,
            num_workers=self._num_workers,
            generator=torch.Generator(),  # training's random numbers are not for this
        )
        for done, sample in enumerate(loader):
            if time.perf_counter() - said > 60:
                said = time.perf_counter()
                logger.info("teacher: %d%% answered", 100 * done // len(loader))
            tokens, mix = self._read(sample, "partner" in sample, self._device)
            logits = self.teacher.logits(tokens, mix, with_clean=False)
            by_example = logits.view(-1, len(tokens), self._num_classes).transpose(0, 1)
            answers[sample["id"].to(self._device)] = by_example
        logger.info("teacher: answered in %.1f s", time.perf_counter() - start)
