"""Task, data, model and criterion, made by calls in any order, and a step of them."""

import copy
import functools

import inprocess
import torch
import toy
from fairseq import tasks
from fairseq.optim import build_optimizer

STILL = ["--dropout", 0, "--attention-dropout", 0]
MIXUP = ["--tmkd-weight", 0, "--mixup-ratio", 2, *STILL]


@functools.cache
def parsed(*flags):
    return inprocess.training_config(flags)


def config_of(data, *flags):
    return copy.deepcopy(parsed(*toy.train_flags(data, "unused", *flags)))


class Made:
    """What one gets by these calls in this order; "data" may come more than once."""

    def __init__(self, config, order=("model", "criterion", "data"), task=None):
        torch.manual_seed(1)
        self.task = tasks.setup_task(config.task) if task is None else task
        for what in order:
            if what == "data":
                self.task.load_dataset("train")
            elif what == "model":
                torch.manual_seed(1)
                self.model = self.task.build_model(config.model).train()
            else:
                self.criterion = self.task.build_criterion(config.criterion)
        self.config = config

    def batches(self, trains=True):
        kwargs = {"grouped_shuffling": False} if trains else {}
        return self.task.get_batch_iterator(
            self.task.dataset("train"), max_sentences=16, epoch=1, **kwargs
        )

    def step(self, begin=True):
        """(sample size, norm of the gradient) of the first update."""
        iterator = self.batches().next_epoch_itr(shuffle=False)
        if begin:
            self.task.begin_epoch(1, self.model)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = build_optimizer(self.config.optimizer, parameters)
        _, sample_size, output = self.task.train_step(
            next(iterator), self.model, self.criterion, optimizer, 0
        )
        gradients = [p.grad.norm() for p in parameters if p.grad is not None]
        return sample_size, torch.stack(gradients).norm().item()
