"""Count what scaling.py needs of a training step, on a CPU: `python measure.py SHAPE...`

Operations of matrix products, bytes kept for the backward pass and launches of kernels, on the
real modules and batches of real lengths. Counts do not depend on the machine. Writes counted.json.
"""

import json
import os
import sys
import tempfile

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "benchmark"))

import arms  # noqa: E402
from data import draw_lengths, write_data  # noqa: E402
from processes import be_quiet  # noqa: E402
from step_arms import HEAD  # noqa: E402

from mixkd_plugin.encoding import encode  # noqa: E402
from mixkd_plugin.mixup import Mix  # noqa: E402

COUNTED = os.path.join(HERE, "counted.json")
BATCH = 32
BATCHES = {"sst2": 2, "rte": 1}
PAD = 1


class Launches(TorchDispatchMode):
    """Operations that compute something: views do not."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        returned = function._schema.returns
        alias = returned[0].alias_info if returned else None
        self.count += alias is None or alias.is_write
        return function(*args, **(kwargs or {}))


def run(model, tokens, mix, with_clean, padding_free=True):
    return encode(model, HEAD, tokens, mix, with_clean, padding_free).sum()


def counted_step(student, teacher, tokens, mix) -> dict:
    """Of one batch: student on clean and mixed rows, teacher on mixed ones."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in student.parameters()}
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, FlopCounterMode(display=False) as forward:
        loss = run(student, tokens, mix, True)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    with torch.no_grad(), FlopCounterMode(display=False) as taught:
        run(teacher, tokens, mix, False)
    lengths, partners = tokens.ne(PAD).sum(1), mix.partner_tokens.ne(PAD).sum(1)
    return {
        "clean_tokens": int(lengths.sum()),
        "mixed_tokens": int(torch.maximum(lengths, partners).sum()),
        "student_forward_flops": forward.get_total_flops(),
        "student_backward_flops": backward.get_total_flops(),
        "teacher_flops": taught.get_total_flops(),
        "kept_float32_bytes": sum(kept.values()),
    }


def counted_launches(student, teacher, tokens, mix) -> dict:
    """By fairseq's own pass, whose number of kernels does not depend on lengths."""
    with Launches() as forward_and_backward:
        run(student, tokens, mix, True, padding_free=False).backward()
    with torch.no_grad(), Launches() as taught:
        run(teacher, tokens, mix, False, padding_free=False)
    return {"student_launches": forward_and_backward.count, "teacher_launches": taught.count}


def count(name: str, task: str) -> dict:
    shape = arms.SHAPES[name]
    with tempfile.TemporaryDirectory() as work:
        settings = arms.Settings(shape, work, BATCH, seed=1, cuda=False)
        lengths = draw_lengths(task, BATCHES[task] * BATCH, settings.seed)
        write_data(settings.data, lengths, shape.vocabulary, settings.seed)
        spec = arms.STEP_SPECS["no-teacher"]
        student = arms.build_trainer(settings, spec, shape.student_layers)
        teacher = arms.build_trainer(settings, spec, shape.teacher_layers).model.eval()
        samples = list(student.get_train_iterator(epoch=1).next_epoch_itr(shuffle=True))
    student = student.model.train()
    steps = []
    for sample in samples:
        mix = Mix(sample["partner"]["net_input"]["src_tokens"], sample["lam"])
        tokens = sample["net_input"]["src_tokens"]
        steps.append(counted_step(student, teacher, tokens, mix))
    mean = {key: sum(step[key] for step in steps) / len(steps) for key in steps[0]}
    short = Mix(mix.partner_tokens[:2], mix.lam[:2])
    return {**mean, **counted_launches(student, teacher, tokens[:2], short)}


def sizes(name: str) -> dict:
    """Numbers in the weights of student and teacher, by the shape."""
    shape = arms.SHAPES[name]
    with tempfile.TemporaryDirectory() as work:
        settings = arms.Settings(shape, work, BATCH, seed=1, cuda=False)
        write_data(settings.data, draw_lengths("sst2", BATCH, 1), shape.vocabulary, 1)
        spec = arms.STEP_SPECS["no-teacher"]
        models = [
            arms.build_trainer(settings, spec, layers).model
            for layers in (shape.student_layers, shape.teacher_layers)
        ]
    student, teacher = ([p.numel() for p in model.parameters()] for model in models)
    return {
        "student_parameters": sum(student),
        "student_tensors": len(student),
        "embedding_parameters": shape.vocabulary * shape.width,
        "teacher_parameters": sum(teacher),
    }


def main() -> None:
    be_quiet()
    counted = {}
    if os.path.exists(COUNTED):
        with open(COUNTED, encoding="utf-8") as file:
            counted = json.load(file)
    for name in sys.argv[1:]:
        counted[name] = {**sizes(name), **{task: count(name, task) for task in BATCHES}}
        with open(COUNTED, "w", encoding="utf-8") as file:
            json.dump(counted, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
