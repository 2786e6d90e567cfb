"""Tasks and criteria of one's own, and wrappers of data, by the real command lines."""

import textwrap

import inprocess
import numpy as np
import pytest
import toy
from extending import flags, import_theirs, validated
from fairseq.data import BaseWrapperDataset, FairseqDataset
from same_end import assert_same_weights

from mixkd_plugin.tasks.mixkd_sentence_prediction import MixKDSentencePredictionTask

BALANCED = ["--task", "my_task", "--criterion", "my_criterion", "--balanced-weight", 0.5]


@pytest.fixture(scope="module", autouse=True)
def theirs():
    import_theirs()


def test_their_task_and_criterion_train_and_their_student_validates(
    tmp_path, classification, teacher
):
    out = tmp_path / "student"
    more = ["--kd-weight", 1, "--teacher-path", teacher, "--max-epoch", 1]
    log = inprocess.run_training(flags(classification, out, *BALANCED, *more))
    logged = toy.last_values(log, "train")
    total = sum(logged[f"{term}_loss"] for term in ("mle", "kd", "sm", "tmkd", "balanced"))
    assert logged["loss"] == pytest.approx(total, abs=4e-3)
    assert logged["balanced_loss"] > 0.1
    alone = validated(classification, out, task="my_task")
    trained = toy.last_values(log, "valid")
    assert toy.last_values(alone, "valid")["accuracy"] == trained["accuracy"]


def test_the_term_is_what_it_says(tmp_path, classification):
    def watcher(trainer, batches):
        batch = batches[0]
        rows = range(len(batch["id"]))
        labels = np.array((classification / "raw" / "train.label").read_text().split(), dtype=int)
        share = np.bincount(labels) / len(labels)
        weights = [0.5 / share[labels[batch["id"][i]]] for i in rows]
        assert batch["weight"].tolist() == pytest.approx(weights, rel=1e-5)
        found.append(sum(weights))

    found, alone = [], ["--tmkd-weight", 0, "--max-epoch", 1]
    inprocess.run_training(flags(classification, tmp_path, *BALANCED, *alone), watcher)
    assert sum(found) == pytest.approx(101, rel=1e-5)


def test_the_term_is_left_out_where_no_clean_logits_are_computed(tmp_path, classification):
    mixed = ["--mle-weight", 0, "--tmkd-weight", 0, "--max-update", 1]
    log = inprocess.run_training(flags(classification, tmp_path, *BALANCED, *mixed))
    assert "balanced_loss" not in log and "sm_loss" in log


@pytest.mark.slow
def test_their_wrapped_split_on_two_processes(tmp_path, classification, teacher):
    def command(folder, update_freq):
        return flags(
            classification, tmp_path / folder, *BALANCED, "--kd-weight", 1, "--teacher-path",
            teacher, "--dropout", 0, "--attention-dropout", 0, "--batch-size", 8, "--update-freq",
            update_freq, "--max-update", 12, "--adam-eps", 1e-5, "--valid-subset", "train,valid",
        )  # fmt: skip

    inprocess.run_training(command("one", 2))
    toy.processes(2, "fairseq_cli.train", command("two", 1))
    assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-6)


CLASS_WEIGHTS = """
    import torch
    import torch.nn.functional as F
    from fairseq.criterions import register_criterion
    from fairseq.data import BaseWrapperDataset
    from fairseq.tasks import register_task
    from mixkd_plugin.criterions.mixkd import MixKDCriterion, MixKDCriterionConfig
    from mixkd_plugin.tasks import mixkd_sentence_prediction as ours

    class WithClassWeights(BaseWrapperDataset):
        def collater(self, samples):
            batch = self.dataset.collater(samples)
            return {**batch, "class_weight": torch.tensor([0.5, 2.0])} if samples else batch

    @register_task("weighted_task", dataclass=ours.MixKDSentencePredictionConfig)
    class WeightedTask(ours.MixKDSentencePredictionTask):
        def load_dataset(self, split, *args, **kwargs):
            self.datasets[split] = WithClassWeights(super().load_dataset(split, *args, **kwargs))
            return self.datasets[split]

    @register_criterion("weighted", dataclass=MixKDCriterionConfig)
    class Weighted(MixKDCriterion):
        def extra_terms(self, sample, clean, mixed):
            target, weight = sample["target"].view(-1), sample["class_weight"]
            return {"weighted": F.cross_entropy(clean, target, weight=weight, reduction="sum")}
"""


@pytest.mark.slow
def test_a_tensor_without_rows_where_one_process_has_a_batch_less(
    tmp_path, classification, teacher
):
    package = tmp_path / "weighted_mixkd"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(CLASS_WEIGHTS))
    more = ["--user-dir", package, "--task", "weighted_task", "--criterion", "weighted"]
    more += ["--kd-weight", 1, "--teacher-path", teacher, "--max-epoch", 1]
    log, _ = toy.processes(
        2, "fairseq_cli.train", toy.train_flags(classification, tmp_path / "run", *more)
    )
    logged = toy.last_values(log, "train")
    assert logged["weighted_loss"] > 0 and logged["examples_seen"] == logged["examples"] == 101


def wrapped_by(monkeypatch, wrapper):
    """Our task, with a wrapper around each split."""
    load = MixKDSentencePredictionTask.load_dataset

    def load_dataset(task, split, *args, **kwargs):
        task.datasets[split] = wrapper(load(task, split, *args, **kwargs))
        return task.datasets[split]

    monkeypatch.setattr(MixKDSentencePredictionTask, "load_dataset", load_dataset)


def test_a_wrapper_changes_no_bit_and_no_epoch(tmp_path, classification, teacher, monkeypatch):
    """Not where the training split is validated on, either: its mixes stay those of the epoch."""
    more = ["--kd-weight", 1, "--teacher-path", teacher, "--valid-subset", "train,valid"]
    more += ["--mixup-period", 2, "--max-epoch", 3]
    inprocess.run_training(flags(classification, tmp_path / "plain", *more))
    wrapped_by(monkeypatch, BaseWrapperDataset)
    inprocess.run_training(flags(classification, tmp_path / "wrapped", *more))
    assert_same_weights(tmp_path / "plain", tmp_path / "wrapped")


class OtherTexts(BaseWrapperDataset):
    def collater(self, samples):
        batch = super().collater(samples)
        batch["net_input"]["src_tokens"] = batch["net_input"]["src_tokens"].clamp(max=20)
        return batch


class OtherItems(BaseWrapperDataset):
    def __getitem__(self, index):
        example = super().__getitem__(index)
        example["target"] = 1 - example["target"]
        return example


class Half(BaseWrapperDataset):
    def __len__(self):
        return len(self.dataset) // 2


class Twice(BaseWrapperDataset):
    def __getitem__(self, index):
        return super().__getitem__(index // 2)


class OneEpoch(BaseWrapperDataset):
    def set_epoch(self, epoch):
        pass


@pytest.mark.parametrize("wrapper", [OtherTexts, OtherItems, Half, Twice, OneEpoch])
def test_a_wrapper_that_changes_the_examples_is_refused(
    tmp_path, classification, monkeypatch, wrapper
):
    wrapped_by(monkeypatch, wrapper)
    command = flags(classification, tmp_path, "--tmkd-weight", 0)
    with pytest.raises(ValueError, match=f"{wrapper.__name__} around split '.*set_epoch") as error:
        inprocess.run_training(command)
    assert "\n" not in str(error.value)


def test_a_plain_wrapper_goes_on(tmp_path, classification, monkeypatch):
    """Without mixes and an order by length fairseq has one iterator for all epochs."""
    wrapped_by(monkeypatch, BaseWrapperDataset)
    more = ["--sm-weight", 0, "--tmkd-weight", 0, "--batch-by-length", "off", "--max-epoch", 3]
    inprocess.run_training(flags(classification, tmp_path, *more))


class NoWrapper(FairseqDataset):
    def __init__(self, dataset):
        self.dataset = dataset


def test_what_is_no_wrapper_is_refused(tmp_path, classification, monkeypatch):
    wrapped_by(monkeypatch, NoWrapper)
    with pytest.raises(ValueError, match="NoWrapper; it must be .*BaseWrapperDataset"):
        inprocess.run_training(flags(classification, tmp_path, "--tmkd-weight", 0))
