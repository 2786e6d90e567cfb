"""``--task my_task --criterion my_criterion --balanced-weight W``: rare classes count as much.

The task extends ours and puts a weight beside each example; the criterion adds a term that uses it.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.data import BaseWrapperDataset
from fairseq.tasks import register_task

from mixkd_plugin.criterions.mixkd import MixKDCriterion, MixKDCriterionConfig
from mixkd_plugin.tasks.mixkd_sentence_prediction import (
    MixKDSentencePredictionConfig,
    MixKDSentencePredictionTask,
)


class WithWeights(BaseWrapperDataset):
    """Our split, with ``weight`` (B,) in its batches: 1 on average, and equal for each class."""

    def __init__(self, dataset):
        super().__init__(dataset)
        _, which, counts = np.unique(dataset.classes, return_inverse=True, return_counts=True)
        self.weights = torch.from_numpy(len(which) / len(counts) / counts[which]).float()

    def __getitem__(self, index):
        return {**self.dataset[index], "weight": self.weights[index]}

    def collater(self, samples):
        batch = self.dataset.collater(samples)
        if samples:
            batch["weight"] = torch.stack([sample["weight"] for sample in samples])
        return batch


@register_task("my_task", dataclass=MixKDSentencePredictionConfig)
class MyTask(MixKDSentencePredictionTask):
    def load_dataset(self, split, combine=False, **kwargs):
        self.datasets[split] = WithWeights(super().load_dataset(split, combine, **kwargs))
        return self.datasets[split]


@dataclass
class MyCriterionConfig(MixKDCriterionConfig):
    balanced_weight: float = field(
        default=1.0, metadata={"help": "weight of the cross-entropy in which classes count alike"}
    )


@register_criterion("my_criterion", dataclass=MyCriterionConfig)
class MyCriterion(MixKDCriterion):
    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.balanced_weight = cfg.balanced_weight

    def extra_terms(self, sample, clean, mixed):
        """One more term, summed over rows; logged as balanced_loss."""
        if clean is None:
            return {}
        targets = sample["target"].view(-1)  # -1: no gold label
        losses = F.cross_entropy(clean.float(), targets, ignore_index=-1, reduction="none")
        return {"balanced": self.balanced_weight * (sample["weight"] * losses).sum()}
