"""Steps of training and validation, of batches with mixes and teacher logits."""

import re
import sys
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.logging import metrics
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from torch import Tensor
from torch.nn import Parameter

from ..losses import LossWeights
from ..mixup import Mix
from ..teacher.logits import TeacherLogits


class WithDistillation(SentencePredictionTask):
    """fairseq's task, whose steps add what the loss needs to a batch.

    ``teacher`` is None until training starts, and without a teacher: a student loads, validates and
    serves without it.
    """

    teacher: Optional[TeacherLogits] = None
    _weights = LossWeights()
    _left_out: List[Parameter] = []  # parameters that no loss uses
    _without_gradient: List[Parameter] = []

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's step, of a batch to which its mixes and the teacher's logits are added.

        A rank without a batch computes a dummy one, which adds nothing to the sample size and to
        logged values. fairseq ensures this only if all batches of the rank's update are dummies.
        After a validation iterator was made, it is a validation batch, marked with one of training:
        so the rank computes and logs the same terms as others.
        """
        stop_where_not_finite(model, optimizer, update_num)
        # fairseq's search for a nan computes the batch again
        is_dummy_batch = bool(ignore_grad or sample.get("dummy"))
        sample, not_finite = self.complete(sample, is_dummy_batch)
        loss, sample_size, output = super().train_step(
            sample, model, criterion, optimizer, update_num, ignore_grad
        )
        if not_finite is not None:
            output["teacher_not_finite"] = not_finite
        if is_dummy_batch:
            sample_size = zeros_like_logging_output(sample_size)
            output = {name: zeros_like_logging_output(value) for name, value in output.items()}
        self._without_gradient = [p for p in self._left_out if p.grad is None]
        return loss, sample_size, output

    def complete(
        self, sample: Dict[str, Any], is_dummy_batch: bool = False
    ) -> Tuple[Dict[str, Any], Optional[Tensor]]:
        """A training batch with its ``mix``, and what the loss needs of the teacher.

        Returns:
            the batch, and the number of sequences of which those are not finite; None without a
            teacher

        Raises:
            ValueError: if the loss has mixed terms, and a batch of examples has no partners.
        """
        if is_dummy_batch:
            sample = dummy_sample(sample, self._weights.need_mixes)
        elif self._weights.need_mixes and "partner" not in sample:
            raise ValueError(
                f"{self._weights.flags('sm', 'tmkd')}: a batch of training examples has no mixing "
                f"partners; load split {self.cfg.train_subset!r} by this task's load_dataset, "
                "after the criterion was built"
            )
        not_finite = None
        if self.teacher is not None and self._weights.hidden > 0:
            sample, not_finite = self.teacher.add_to(
                sample, self._weights.need_clean, self._weights.need_mixes, with_states=True
            )
        elif self.teacher is not None:
            clean, mixed = (self._weights.any_positive(term) for term in ("kd", "tmkd"))
            add = self.teacher.add_zeros_to if is_dummy_batch else self.teacher.add_to
            sample, not_finite = add(sample, clean, mixed)
        if self._weights.need_mixes:
            partners = sample["partner"]["net_input"]["src_tokens"]
            mix = Mix.of(sample, partners, self._weights.need_clean)
            sample = {**sample, "mix": mix}
        return sample, not_finite

    def optimizer_step(self, optimizer, model, update_num):
        """fairseq's, without weight decay of parameters without a gradient, on all processes.

        ``legacy_ddp`` gives the language-model head, which no loss uses, gradients of zero.
        """
        for parameter in self._without_gradient:
            parameter.grad = None
        super().optimizer_step(optimizer, model, update_num)

    def valid_step(self, sample, model, criterion):
        """fairseq's; zeros for the empty batch of a process of ``fairseq-validate``."""
        if not sample:
            return 0, 0, {}
        not_finite = None
        if self.teacher is not None:
            sample, not_finite = self.teacher.add_to(sample, clean=True, mixed=False)
        loss, sample_size, output = super().valid_step(sample, model, criterion)
        if not_finite is not None:
            output["teacher_not_finite"] = not_finite
        return loss, sample_size, output

    def reduce_metrics(self, logging_outputs, criterion):
        """fairseq's, of values that were moved to the CPU in one transfer.

        Raises:
            ValueError: on all ranks, after an update in which teacher logits overflowed.
        """
        outputs = to_cpu(logging_outputs)
        not_finite = sum(output.get("teacher_not_finite", 0) for output in outputs)
        if not_finite > 0:
            raise ValueError(
                f"--teacher-path: the teacher's logits of {int(not_finite)} sequences of this "
                f"update are not finite numbers (--teacher-dtype {self.cfg.teacher_dtype}): the "
                "largest float16 is 65504; use bfloat16 or float32"
            )
        super().reduce_metrics(outputs, criterion)
        if criterion.training and self.cfg.train_subset in self.datasets:
            # exact, unlike the mean batch size, `bsz`; used by the study
            examples = len(self.datasets[self.cfg.train_subset])
            metrics.log_scalar("examples", examples, priority=195, round=0)
            seen = sum(output.get("nsentences", 0) for output in outputs)
            metrics.log_scalar_sum("examples_seen", seen, priority=195, round=0)


def dummy_sample(sample: Dict[str, Any], mixing: bool) -> Dict[str, Any]:
    """A dummy batch of training, whose examples are their own partners if it has none."""
    if isinstance(sample.get("dummy"), dict):  # of validation
        sample = sample["dummy"]
    if mixing and "partner" not in sample:
        lam = torch.ones(len(sample["id"]), dtype=torch.float64, device=sample["id"].device)
        sample = {**sample, "partner": sample, "lam": lam}
    return sample


def zeros_like_logging_output(value: Any) -> Any:
    """A zero of the value's type: all ranks must log the same types."""
    return torch.zeros_like(value) if torch.is_tensor(value) else type(value)()


def to_cpu(outputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The same values on the CPU, by a single transfer."""
    tensors = [v for output in outputs for v in output.values() if torch.is_tensor(v)]
    if not tensors:
        return outputs
    # float64 represents every float32 and every count
    numbers = torch.cat([t.detach().reshape(-1).double() for t in tensors]).cpu()
    parts = iter(numbers.split([t.numel() for t in tensors]))

    def fetch(value: Any) -> Any:
        if not torch.is_tensor(value):
            return value
        return next(parts).view(value.shape).to(value.dtype)

    return [{name: fetch(value) for name, value in output.items()} for output in outputs]


def stop_where_not_finite(model, optimizer, update_num: int) -> None:
    """End a run whose gradients are not finite; called at each step.

    fairseq repeats such a step while it handles its error, to print where it fails; for RoBERTa
    this fails itself with a StopIteration.

    Raises:
        ValueError: with the likely cause
        FloatingPointError: fairseq's own, of another kind (its loss scale)
    """
    error = sys.exc_info()[1]
    if not isinstance(error, FloatingPointError):
        return
    # of several GPUs fairseq compares the norms first, and calls a nan or inf inconsistent
    if not re.search("^gradients are Nan/Inf$|^rank +[0-9]+ = -?(nan|inf)", str(error), re.M):
        raise error
    names = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if names and update_num == 0:
        cause = (
            f"its {names[0]} is not finite before any update; give another file to begin from "
            "(--student-init-path, --restore-file, --finetune-from-model)"
        )
    else:
        cause = (
            f"lower --lr (now {optimizer.get_lr():g}) or set --clip-norm, and check for very large "
            "regression targets or teacher logits"
        )
    raise ValueError(
        f"update {update_num + 1}: the student's gradients are not finite numbers (nan or "
        f"infinity): {cause}"
    ) from error
