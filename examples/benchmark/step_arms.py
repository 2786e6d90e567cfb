"""The arms of steps: a trainer's updates, a bare loop, and the parts of an update one by one."""

from typing import Callable, Dict, Tuple

import torch
import torch.nn.functional as F
from arms import STEP_SPECS, FairseqArm, Settings
from rivals import adamw

from mixkd_plugin.mixup import Mix

HEAD = "sentence_classification_head"
PARTS = {
    "part-student": "part of it: student forward and backward",
    "part-teacher": "part of it: teacher forward",
    "part-optimizer": "part of it: clipping and optimizer",
}


class LoopArm(FairseqArm):
    """The same student and batches in a bare loop."""

    def __init__(self, settings: Settings):
        super().__init__(settings, STEP_SPECS["finetune"])
        self.model = self.trainer.model.train()
        self.device = settings.device
        self.optimizer = adamw(self.model)

    def step(self, index: int) -> None:
        batch = self.batches[index]
        tokens = batch["net_input"]["src_tokens"].to(self.device)
        logits, _ = self.model(tokens, features_only=True, classification_head_name=HEAD)
        loss = F.cross_entropy(logits, batch["target"].view(-1).to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


class PartsArm(FairseqArm):
    """The parts of a step of arm ``mixkd`` one by one, without losses and logging."""

    def __init__(self, settings: Settings):
        super().__init__(settings, STEP_SPECS["mixkd"])
        self.batch_size = settings.batch_size

    def load_steps(self) -> None:
        super().load_steps()
        self.step(0)  # allocates the optimizer's state; leaves gradients

    def _sample(self, index: int):
        sample, _ = self.trainer._prepare_sample(self.batches[index])
        return sample, Mix(sample["partner"]["net_input"]["src_tokens"], sample["lam"])

    def student(self, index: int) -> None:
        sample, mix = self._sample(index)
        self.trainer.zero_grad()
        logits, _ = self.trainer.model.train()(
            **sample["net_input"], features_only=True, classification_head_name=HEAD, mix=mix
        )
        logits.square().sum().backward()

    def teacher(self, index: int) -> None:
        sample, mix = self._sample(index)
        tokens = sample["net_input"]["src_tokens"]
        self.trainer.task.teacher.ensemble.logits(tokens, mix._replace(with_clean=False))

    def optimizer(self, index: int) -> None:
        """As fairseq does it; on the gradients that are there, whatever the index."""
        trainer = self.trainer
        trainer.optimizer.multiply_grads(1 / self.batch_size)
        trainer.clip_grad_norm(trainer.cfg.optimization.clip_norm)
        trainer.task.optimizer_step(trainer.optimizer, model=trainer.model, update_num=1)


def build_step_arms(names, settings: Settings) -> Tuple[Dict[str, Callable[[int], None]], list]:
    """``({name: step(index)}, batches)``; the same batches for all."""
    arms, steps, parts = {}, {}, None
    for name in names:
        if name in PARTS:
            if parts is None:
                parts = arms[name] = PartsArm(settings)
            steps[name] = getattr(parts, name[len("part-") :])
            continue
        arms[name] = LoopArm(settings) if name == "loop" else FairseqArm(settings, STEP_SPECS[name])
        steps[name] = arms[name].step
    ids = None
    for name, arm in arms.items():
        arm.load_steps()
        ids = ids or arm.ids
        if arm.ids != ids:
            raise RuntimeError(f"{name} was given other batches than {next(iter(arms))}")
    return steps, next(iter(arms.values())).batches
