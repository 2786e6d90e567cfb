"""Teacher logits: computed once for each sequence, looked up at every step.

Logits that are needed repeatedly (of clean examples, and of mixes that repeat or that another run
of a sweep draws) are computed first, in batches that depend only on the sequences. So they are
equal, bit for bit, on any number of processes, after an interruption, and from disk.
Those that are needed once are computed in their step.
"""

import logging
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .. import distributed
from ..mixup import Mix
from .disk_cache import LogitsCache
from .ensemble import TeacherEnsemble
from .sequences import TeacherSequences

logger = logging.getLogger(__name__)

# Tokens in a batch of the teacher: enough to fill a GPU, and far below what training keeps there.
BATCH_TOKENS = 8192


class TeacherLogits:
    """Logits by lookup where they are known, else by the teacher.

    ``ensemble`` is None until it is needed for the first time.

    Args:
        load_teacher: reads and checks it
        num_classes: C
        device: where known logits are kept
        num_workers: processes that load data while logits are computed
        cache: stores logits for later runs
        own_tokens: whether the teacher reads a batch's ``teacher_tokens``, of another vocabulary
    """

    def __init__(
        self,
        load_teacher: Callable[[], TeacherEnsemble],
        num_classes: int,
        device: torch.device,
        num_workers: int = 0,
        cache: Optional[LogitsCache] = None,
        own_tokens: bool = False,
    ):
        self.ensemble: Optional[TeacherEnsemble] = None
        self._load_teacher = load_teacher
        self._num_classes = num_classes
        self._device = device
        self._num_workers = num_workers
        self._cache = cache
        self._own_tokens = own_tokens
        self._clean: Dict[str, Tensor] = {}  # split -> (n, 1, C)
        self._mixed: Dict[str, Tensor] = {}  # digest of an epoch's mixes -> (n, ratio, C)
        self._digests: Dict[int, str] = {}  # epoch -> digest of its mixes

    def load(self) -> None:
        """Load the teacher, if it is not loaded yet; all ranks at the same time."""
        if self.ensemble is None:
            self.ensemble = self._load_teacher()

    def prepare_clean(self, sequences: TeacherSequences) -> None:
        """Compute the logits of the clean examples of a split."""
        if sequences.split not in self._clean:
            self._clean[sequences.split] = self._known(sequences)

    def clean(self, sequences: TeacherSequences) -> Tensor:
        """(k, C) logits of clean examples of a split."""
        known = self._clean.get(sequences.split)
        known = self._known(sequences) if known is None else known
        return known[torch.from_numpy(sequences.ids).to(self._device), 0]

    def prepare_mixed(self, sequences: TeacherSequences, keep: bool) -> None:
        """Compute the logits of an epoch's mixes; ``keep`` those of other epochs."""
        if not keep:
            self._digests.clear()
        digest = self._digests[sequences.epoch] = sequences.digest
        if digest not in self._mixed:
            if not keep:
                self._mixed.clear()
            self._mixed[digest] = self._known(sequences)

    def forget(self, split: str) -> None:
        """A split that is loaded again may have other examples."""
        self._clean.pop(split, None)
        self._digests.clear()

    def add_to(
        self, sample: Dict[str, Any], clean: bool, mixed: bool, with_states: bool = False
    ) -> Tuple[Dict[str, Any], Tensor]:
        """A batch with ``teacher_logits`` (B, C) and ``partner.teacher_logits`` (M, C), where
        ``clean`` and ``mixed`` are true.

        ``with_states``: also ``teacher_states``, the hidden states (R, T, D) of the same sequences
        after each layer. These are never kept.

        Returns:
            the batch, its logits in float32, zeros if the teacher's are not finite; and the
            number of such sequences, a scalar tensor. An overflow of the loss would give fairseq's
            error, or look like a too high loss scale: so it stays finite until all ranks know the
            number.
        """
        ids, split = sample["id"], sample["split"]
        of_clean = of_mixed = None
        not_finite = ids.new_zeros(())
        if clean and not with_states and split in self._clean:
            of_clean = _look_up(self._clean[split], ids)
        if mixed and not with_states and sample["epoch"] in self._digests:
            of_mixed = _look_up(self._mixed[self._digests[sample["epoch"]]], ids)
        need_clean, need_mixed = clean and of_clean is None, mixed and of_mixed is None
        if need_clean or need_mixed:  # one pass for both
            self.load()
            tokens, mix = self._tokens(sample), None
            if need_mixed:
                mix = Mix.of(sample, self._tokens(sample["partner"]), need_clean)
            states: Optional[List[Tensor]] = [] if with_states else None
            logits = self.ensemble.logits(tokens, mix, states)
            finite = torch.isfinite(logits).all(dim=1, keepdim=True)
            if with_states:  # a nan of a layer reaches the last one
                finite &= torch.isfinite(states[-1]).flatten(1).all(dim=1, keepdim=True)
                states = [state.masked_fill(~finite.unsqueeze(-1), 0) for state in states]
                sample = {**sample, "teacher_states": states}
            not_finite = finite.logical_not().sum()
            logits = logits.masked_fill(~finite, 0)
            now = (logits, None) if mix is None else mix.split_logits(logits)
            sample = _with_logits(sample, *now)
        return _with_logits(sample, of_clean, of_mixed), not_finite

    def add_zeros_to(
        self, sample: Dict[str, Any], clean: bool, mixed: bool
    ) -> Tuple[Dict[str, Any], Tensor]:
        """The same for a dummy batch, whose logits do not matter."""
        of_clean, of_mixed = (
            sample["id"].new_zeros(n, self._num_classes, dtype=torch.float32) if wanted else None
            for n, wanted in ((len(sample["id"]), clean), (len(sample.get("lam", ())), mixed))
        )
        return _with_logits(sample, of_clean, of_mixed), sample["id"].new_zeros(())

    def _tokens(self, batch: Dict[str, Any]) -> Tensor:
        if self._own_tokens and "teacher_tokens" not in batch:
            raise ValueError(
                "--teacher-data: a batch must have teacher_tokens, got none; load each split by "
                "this task's load_dataset, after build_model"
            )
        tokens = batch["teacher_tokens"] if self._own_tokens else batch["net_input"]["src_tokens"]
        return tokens.to(self._device)

    def _known(self, sequences: TeacherSequences) -> Tensor:
        """(n, sequences of each, C) on every rank, by position in the split; -inf for examples
        without logits."""
        shape = (sequences.split_size, sequences.per_example, self._num_classes)
        known = torch.full(shape, -np.inf, device=self._device)
        ids = torch.from_numpy(sequences.ids).to(self._device)
        if self._cache is not None:
            key = sequences.split, sequences.digest
            with distributed.raise_on_all_ranks():
                stored = None
                if distributed.rank() == 0:  # only rank 0 uses the disk
                    shape_of_kept = (len(ids), *shape[1:])
                    stored = self._cache.load(*key, shape_of_kept, sequences.combined)
                if stored is not None:
                    known[ids] = torch.tensor(stored, device=self._device)
            distributed.merge_max(known)
            if torch.isfinite(known[ids]).all():
                return known
            known.fill_(-np.inf)
        self.load()
        with distributed.raise_on_all_ranks():
            self._compute(sequences, known)
        distributed.merge_max(known)
        bad = ids[~torch.isfinite(known[ids]).flatten(1).all(dim=1)]
        if len(bad):
            raise ValueError(
                f"--teacher-path: the logits of example {int(bad[0])} of split "
                f"{sequences.split!r} are not finite numbers ({len(bad)} such examples): is "
                "--teacher-dtype too narrow?"
            )
        if self._cache is not None:
            with distributed.raise_on_all_ranks():
                if distributed.rank() == 0:
                    self._cache.store(*key, known[ids].cpu().numpy(), sequences.combined)
        return known

    def _compute(self, sequences: TeacherSequences, known: Tensor) -> None:
        """This rank's share of the logits."""
        start = logged = time.perf_counter()
        count = len(sequences.ids) * sequences.per_example
        logger.info("computing teacher logits: %d sequences of split %s", count, sequences.split)
        batches = sequences.batches(BATCH_TOKENS)
        loader = DataLoader(
            sequences,
            batch_sampler=batches[distributed.rank() :: distributed.world_size()],
            collate_fn=sequences.collater,
            num_workers=self._num_workers,
            generator=torch.Generator(),  # does not use training's random numbers
        )
        for done, sample in enumerate(loader):
            if time.perf_counter() - logged > 60:
                logged = time.perf_counter()
                logger.info("teacher logits: %d%% done", 100 * done // len(loader))
            tokens, mix = self._tokens(sample), None
            if "partner" in sample:
                mix = Mix.of(sample, self._tokens(sample["partner"]), with_clean=False)
            logits = self.ensemble.logits(tokens, mix)
            by_example = logits.view(-1, len(tokens), self._num_classes).transpose(0, 1)
            known[sample["id"].to(self._device)] = by_example
        logger.info("teacher logits: done in %.1f s", time.perf_counter() - start)


def _look_up(known: Tensor, ids: Tensor) -> Tensor:
    return known[ids].transpose(0, 1).flatten(0, 1)  # sequence m belongs to example m % B


def _with_logits(
    sample: Dict[str, Any], clean: Optional[Tensor], mixed: Optional[Tensor]
) -> Dict[str, Any]:
    if clean is not None:
        sample = {**sample, "teacher_logits": clean}
    if mixed is not None:
        sample = {**sample, "partner": {**sample["partner"], "teacher_logits": mixed}}
    return sample
