"""The frozen teacher costs its weights in its type and the activations of one forward; no more.

Bytes are those of tensors alive, which are the same in every run.
"""

from typing import NamedTuple

import pytest
import torch
import toy
from live_bytes import LiveBytes

from mixkd_plugin.teacher.ensemble import TeacherEnsemble

# Nothing is alive that the step does not need: no batches read ahead, no validation split.
FLAGS = ["--max-epoch", 1, "--data-buffer-size", 0, "--disable-validation", "--no-save"]
WITHOUT = ["--tmkd-weight", 0]  # the same mixed rows and student
LOGGED = 16  # bytes of one more value in the log
N, CLASSES, FLOAT32 = 101, 2, 4


class Run(NamedTuple):
    held: list  # bytes before every update but the first
    peaks: list  # the most within every update but the first
    weights: int  # bytes of the teacher's parameters
    forward: int  # the most that one call of the teacher needed
    kept: list  # bytes that each call left alive, but for its answer


def train(data, folder, *flags) -> Run:
    """An epoch; the first update allocates the optimizer's state, and is left out."""
    weights, calls, answers, updates = [0], [], [], []
    logits = TeacherEnsemble.logits

    def marked_logits(self, *args, **kwargs):
        parameters = [p for model in self._models for p in model.parameters()]
        weights.append(sum(p.numel() * p.element_size() for p in parameters))
        calls.append(f"call {len(calls)}")
        live.mark(f"{calls[-1]} begins")
        answer = logits(self, *args, **kwargs)
        live.mark(calls[-1])
        answers.append(answer.nbytes)
        return answer

    def watch(trainer, _):
        updates.append(f"update {trainer.get_num_updates()}")
        live.mark(updates[-1])

    with pytest.MonkeyPatch.context() as patch, LiveBytes() as live:
        patch.setattr(TeacherEnsemble, "logits", marked_logits)
        toy.fit(data, folder, *FLAGS, *flags, watcher=watch)
    names = list(live.at)
    peaks = []
    for begin, end in zip(updates[1:], updates[2:]):
        within = names[names.index(begin) + 1 : names.index(end) + 1]
        peaks.append(max(live.at[name].peak for name in within))
    needed, kept = [0], []
    for call, answer in zip(calls, answers):
        before, after = live.at[f"{call} begins"], live.at[call]
        needed.append(after.peak - before.held)
        kept.append(after.held - before.held - answer)
    held = [live.at[name].held for name in updates[1:]]
    return Run(held, peaks, weights[-1], max(needed), kept)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def without(classification, folder):
    train(classification, folder, *WITHOUT)  # what fairseq makes once a process
    return train(classification, folder, *WITHOUT)


def more(run, without):
    """Bytes that a run holds between updates, and within them, beyond the one without teacher."""
    assert len(run.held) == len(without.held) == 6
    held = [a - b for a, b in zip(run.held, without.held)]
    peaks = [a - b for a, b in zip(run.peaks, without.peaks)]
    return held, peaks


def parameters(path):
    """How many numbers a checkpoint's model has."""
    other = ("encoder.lm_head.weight", "encoder.sentence_encoder.version")  # tied; no parameter
    state = torch.load(path)["model"]
    return sum(v.numel() for k, v in state.items() if k not in other)


@pytest.mark.parametrize("count, dtype", [(1, torch.float32), (2, torch.bfloat16)])
@pytest.mark.slow
def test_teachers_cost_their_weights_and_one_forward(
    classification, teacher, folder, without, count, dtype
):
    path, name = ":".join([str(teacher)] * count), str(dtype).split(".")[1]
    run = train(classification, folder, "--teacher-path", path, "--teacher-dtype", name)
    held, peaks = more(run, without)
    assert run.weights == count * parameters(teacher) * dtype.itemsize
    assert all(0 <= m - run.weights <= LOGGED for m in held)
    assert all(m - run.weights <= run.forward + LOGGED for m in peaks)
    assert len(run.kept) == 7 and not any(run.kept)


@pytest.mark.slow
def test_answers_that_are_kept_cost_one_number_for_each_class(
    classification, teacher, folder, without
):
    """Of clean examples and of the epoch's mixes; a run that finds them has no teacher at all."""
    flags = ["--teacher-path", teacher, "--kd-weight", 1, "--teacher-cache", folder / "cache"]
    answers = 2 * N * CLASSES * FLOAT32
    for weights in (parameters(teacher) * FLOAT32, 0):
        run = train(classification, folder, *flags)
        held, peaks = more(run, without)
        assert run.weights == weights
        # kd_loss, accuracy of the teacher and agreement are logged too
        assert all(0 <= m - weights - answers <= 4 * LOGGED for m in held)
        # tables are looked up in, one row for each example of a batch
        assert all(m - weights - answers <= 4 * LOGGED + answers for m in peaks)
