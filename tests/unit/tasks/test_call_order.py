"""Task, data, model and criterion made in any order: the same training, or an error; never another.

A program of one's own, a notebook or a subclass of the task need not call them as fairseq-train.
"""

import copy
import functools
from inspect import signature

import inprocess
import pytest
import torch
import toy
from fairseq import checkpoint_utils, criterions, options, tasks
from fairseq.data import BaseWrapperDataset
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from made_by_calls import MIXUP, STILL, Made, config_of, parsed
from omegaconf import OmegaConf
from refusals import FINE_TUNE
from slow_cases import slow

from mixkd_plugin.losses import LossWeights
from mixkd_plugin.tasks.mixkd_sentence_prediction import MixKDSentencePredictionTask

# the one where data comes last is fairseq-train's
ORDERS = [
    ("data", "model", "criterion"), ("data", "criterion", "model"), ("model", "data", "criterion"),
]  # fmt: skip


@pytest.fixture
def made(classification):
    def make(*args, flags=MIXUP, data=classification, **kwargs):
        return Made(config_of(data, *flags), *args, **kwargs)

    return make


@pytest.fixture(scope="module")
def expected(classification):
    return Made(config_of(classification, *MIXUP)).step()


@pytest.mark.parametrize("order", [*ORDERS, ("data", "model", "criterion", "data")])
def test_every_order_trains_on_the_same(made, expected, order):
    assert made(order).step() == expected
    assert expected[0] >= 14 and expected[1] > 0


@pytest.mark.parametrize("order", [ORDERS[1], *slow((ORDERS[0],))])
def test_a_teachers_own_copy_of_the_data_is_read_in_every_order(words, order):
    config = parsed(*words.flags_for("unused", "--kd-weight", 1, *STILL))
    made = Made(copy.deepcopy(config), order)
    assert made.step() == Made(copy.deepcopy(config)).step()


def test_a_loss_that_is_told_of_after_the_data(made, classification):
    """Where the configuration of the task is no part of a run's, the task cannot know in time."""
    config = config_of(classification, *MIXUP)
    alone = OmegaConf.create(OmegaConf.to_container(config.task, resolve=True))
    task = tasks.setup_task(alone)
    late = made(("data", "model", "criterion"), task=task)
    with pytest.raises(ValueError, match="--sm-weight 1: .* no mixing partners"):
        late.step()
    with pytest.raises(ValueError, match="--sm-weight 1: .* has no mixes"):
        late.criterion(late.model, next(late.batches().next_epoch_itr()))
    task.load_dataset("train")
    assert late.step() == made().step()


def test_another_loss_than_the_configurations(made, expected):
    late = made(("model", "data", "criterion"), flags=[*FINE_TUNE, *STILL])
    config = OmegaConf.merge(late.config.criterion, {"sm_weight": 1.0})
    late.task.cfg.mixup_ratio = 2
    late.criterion = criterions.build_criterion(config, late.task)
    with pytest.raises(ValueError, match="--sm-weight 1: .* no mixing partners"):
        late.step()
    late.task.load_dataset("train")
    assert late.step() == expected


def test_a_students_task_that_trains(tmp_path, made, classification):
    toy.fit(classification, tmp_path, *MIXUP, "--max-update", 1)
    path = tmp_path / "checkpoint_last.pt"
    _, config, task = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    late = Made(config, ("data", "model", "criterion"), task=task)
    with pytest.raises(ValueError, match="no mixing partners"):
        late.step()


@pytest.mark.parametrize(
    "trains, flags, cause",
    [
        (MIXUP, ["--num-classes", 3], "has 2 classes, --num-classes is 3"),
        ([*FINE_TUNE, *toy.SIZE], ["--num-classes", 3], "has 2 classes, --num-classes is 3"),
        *slow(
            (MIXUP, ["--classification-head-name", "other"], "has no classification head 'other'")
        ),
    ],
)
def test_a_student_is_not_validated_with_a_random_head(
    tmp_path, classification, trains, flags, cause
):
    """Nor fairseq's own."""
    toy.fit(classification, tmp_path, *trains, "--max-update", 1)
    checkpoint = tmp_path / "checkpoint_last.pt"
    command = toy.validate_flags(classification, checkpoint, "--batch-size", 16)
    assert "accuracy" in inprocess.validate(*command)
    with pytest.raises(ValueError, match=f"the student's checkpoint: it.* {cause}"):
        inprocess.validate(*command, *flags)
    run = ["--finetune-from-model", checkpoint, *trains, *flags, "--max-update", 1]
    toy.fit(classification, tmp_path / "other", *run)  # a new head


class LoadsInitially(MixKDSentencePredictionTask):
    def __init__(self, *args):
        super().__init__(*args)
        self.load_dataset("train")


class Wraps(MixKDSentencePredictionTask):
    def load_dataset(self, split, combine=False, **kwargs):
        self.datasets[split] = BaseWrapperDataset(super().load_dataset(split, combine, **kwargs))
        return self.datasets[split]


class LoadsItsOwn(MixKDSentencePredictionTask):
    def load_dataset(self, split, combine=False, **kwargs):
        return SentencePredictionTask.load_dataset(self, split, combine, **kwargs)


@pytest.mark.parametrize("kind", [LoadsInitially, Wraps])
def test_a_task_of_ones_own(made, expected, classification, kind):
    task = kind.setup_task(config_of(classification, *MIXUP).task)
    assert made(ORDERS[0], task=task).step() == expected


def test_a_task_whose_data_has_no_partners(made, classification):
    task = LoadsItsOwn.setup_task(config_of(classification, *MIXUP).task)
    with pytest.raises(ValueError, match="must be what load_dataset of mixkd_sentence_prediction"):
        made(task=task).step()


def test_a_teacher_that_was_not_set_up(made, teacher):
    flags = ["--kd-weight", 1, "--teacher-path", teacher, *STILL]
    with pytest.raises(ValueError, match="--kd-weight 1 and --tmkd-weight 1: .* begin_epoch"):
        made(flags=flags).step(begin=False)


class NamesNoArgument(MixKDSentencePredictionTask):
    def get_batch_iterator(self, dataset, *args, **kwargs):
        names = list(signature(SentencePredictionTask.get_batch_iterator).parameters.values())[2:]
        args = [kwargs.get(p.name, p.default) for p in names]
        return super().get_batch_iterator(dataset, *args)


TEACHES = ["--kd-weight", 1, *STILL, "--teacher-path"]


def mixed_answers(made, epoch):
    """Teacher logits of the mixes of an epoch's first batch, looked up."""
    iterator = made.task.get_batch_iterator(
        made.task.dataset("train"), max_sentences=16, epoch=epoch, grouped_shuffling=False
    )
    batch = next(iterator.next_epoch_itr(shuffle=False))

    def logits():
        completed, _ = made.task.teacher.add_to(batch, clean=True, mixed=True)
        return completed["teacher_logits"], completed["partner"]["teacher_logits"]

    return logits


@pytest.mark.parametrize("keep", ["--teacher-cache", *slow("--mixup-period")])
def test_answers_to_mixes_are_of_the_epoch_of_a_batch(made, teacher, tmp_path, keep):
    """Also where begin_epoch was called once, or before the epoch's iterator was made."""
    flags = [*TEACHES, teacher, keep, 2 if keep == "--mixup-period" else tmp_path]
    ahead = made(flags=flags)
    for epoch in (1, 2):  # fills the cache
        mixed_answers(ahead, epoch)
        ahead.task.begin_epoch(epoch, ahead.model)
    late = made(flags=flags)
    answers = mixed_answers(late, 1)
    late.task.begin_epoch(1, late.model)
    assert len(answers()) == 2
    stale = mixed_answers(late, 2)()
    late.task.begin_epoch(2, late.model)
    for one, other in zip(stale, mixed_answers(late, 2)()):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_task_that_names_no_argument_of_its_iterator(made, classification, teacher, tmp_path):
    flags = [*TEACHES, teacher, "--teacher-cache", tmp_path]
    expected = made(flags=flags).step()
    for kind in (NamesNoArgument, MixKDSentencePredictionTask):
        task = kind.setup_task(config_of(classification, *flags).task)
        assert made(flags=flags, task=task).step() == expected


def test_an_iterator_that_is_not_said_to_train(made, teacher, tmp_path):
    """Its mixes are not known beforehand; the teacher of a full cache was not loaded yet."""
    flags = [*TEACHES, teacher, "--teacher-cache", tmp_path]
    expected = made(flags=flags).step()
    one = made(flags=flags)
    one.batches = functools.partial(one.batches, trains=False)
    assert one.step() == pytest.approx(expected, rel=1e-4)


def test_a_split_that_is_loaded_anew_has_other_answers(made, teacher):
    flags = [*TEACHES, teacher]
    one = made(flags=[*flags, "--train-fraction", 0.5])
    one.batches()
    one.task.begin_epoch(1, one.model)
    one.task.cfg.train_fraction = 1.0
    one.task.load_dataset("train")
    assert one.step(begin=False) == pytest.approx(made(flags=flags).step(), rel=1e-4)


def test_flags_as_argparse_leaves_them(expected, classification):
    """fairseq's older way, in programs of one's own."""
    flags = [str(flag) for flag in toy.train_flags(classification, "unused", *MIXUP)]
    args = options.parse_args_and_arch(options.get_training_parser(), flags)
    made = Made(config_of(classification, *MIXUP), order=(), task=tasks.setup_task(args))
    torch.manual_seed(1)
    made.model = made.task.build_model(args).train()
    made.criterion = made.task.build_criterion(args)
    made.task.load_dataset("train")
    assert made.step() == expected


@pytest.mark.parametrize("first", ["train", "valid"])
def test_validating_on_the_training_split_takes_no_batch_of_training(made, first):
    one = made(flags=[*FINE_TUNE, "--batch-by-length", "off"])
    if first == "valid":
        one.batches(trains=False)
    batches = one.batches()
    epoch = batches.next_epoch_itr()
    seen = next(epoch)["id"].tolist()
    for sample in one.batches(trains=False).next_epoch_itr(shuffle=False):
        assert "dummy" not in sample
    assert one.batches() is batches or first == "valid"
    assert len(one.task.dataset_to_epoch_iter) == 1
    seen += [i for sample in epoch for i in sample["id"].tolist()]
    assert sorted(seen) == sorted(set(seen)) and len(seen) > 90


def test_a_criterion_without_a_dataclass_has_none_of_our_weights(tmp_path, classification):
    """fairseq keeps its flags in a namespace."""
    flags = toy.train_flags(classification, tmp_path, "--criterion", "sentence_ranking")
    config = inprocess.training_config(flags)
    assert not OmegaConf.is_config(config.criterion)
    assert tasks.setup_task(config.task)._weights == LossWeights()
