"""A step of training and of validation on the second device and on the CPU: CASES RECORD.

Both are JSON; each case is a list of flags. ``difference``: the largest relative one of losses and
gradients; ``waits``: what made the host wait.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import inprocess
import second_device
import torch
from fairseq import tasks, utils

from mixkd_plugin.teacher.ensemble import TeacherEnsemble
from mixkd_plugin.teacher.logits import TeacherLogits


def step(task, student, criterion, sample):
    student.zero_grad(set_to_none=True)
    student.train()
    torch.manual_seed(1)
    optimizer = mock.Mock(backward=lambda loss: loss.backward())
    loss, _, output = task.train_step(sample, student, criterion, optimizer, 0)
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    valid_loss, _, valid_output = task.valid_step(sample, student, criterion)
    output.update({f"valid_{key}": value for key, value in valid_output.items()})
    return [loss.detach(), valid_loss, *gradients], output


def relative(a, b) -> float:
    return float((a - b).abs().max() / (1 + b.abs().max()))


def compare(flags) -> dict:
    config = inprocess.training_config(flags)
    task = tasks.setup_task(config.task)
    student = task.build_model(config.model)
    criterion = task.build_criterion(config.criterion)
    dataset = task.load_dataset("train")
    task._training_split, task._training_batches = dataset, 10
    task.begin_epoch(1, student)
    models = task.teacher.ensemble._models
    batch = dataset.collater([dataset[i] for i in range(8)])
    dtype = torch.float16 if config.common.fp16 else torch.float32
    for module in (student, *models):
        module.to(dtype)
    batch = utils.apply_to_sample(lambda x: x.to(dtype) if x.dtype == torch.float32 else x, batch)

    def outputs(device):
        head = criterion.classification_head_name
        teacher = TeacherEnsemble(models, [1.0], head, student.padding_free)
        made = TeacherLogits(lambda: teacher, task.cfg.num_classes, torch.device(device))
        made.load()
        return made

    task.teacher = outputs("cpu")
    expected, _ = step(task, student, criterion, batch)
    with second_device.SecondDevice():
        for module in (student, *models):
            second_device.move(module)
        task.teacher = outputs(second_device.DEVICE)
        batch = utils.apply_to_sample(second_device.OnDevice, batch)
        second_device.waits.clear()
        got, output = step(task, student, criterion, batch)
        waits = sorted(set(second_device.waits))
    logged = [v for v in output.values() if torch.is_tensor(v)]
    return {
        "on_device": all(isinstance(x, second_device.OnDevice) for x in [*got, *logged]),
        "difference": max(relative(a.inner, b) for a, b in zip(got, expected)),
        "waits": waits,
    }


if __name__ == "__main__":
    cases, record = map(Path, sys.argv[1:])
    done = {name: compare(flags) for name, flags in json.loads(cases.read_text()).items()}
    record.write_text(json.dumps(done))
