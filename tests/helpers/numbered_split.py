"""A split of 101 numbered examples of three classes."""

from functools import partial

import numpy as np
import torch
from fairseq.data import FairseqDataset

from mixkd_plugin.data.mixup_dataset import MixupDataset
from mixkd_plugin.data.mixup_plan import draw_plan

LENGTHS = np.random.RandomState(0).randint(3, 40, size=101)
CLASSES = np.random.RandomState(1).randint(0, 3, size=101)


class Base(FairseqDataset):
    """A split of numbered examples in fairseq's fixed random order."""

    def __getitem__(self, index):
        return {"id": int(index)}

    def __len__(self):
        return len(LENGTHS)

    def collater(self, samples):
        return {"id": torch.tensor([s["id"] for s in samples])} if samples else {}

    def num_tokens(self, index):
        return LENGTHS[index]

    def ordered_indices(self):
        return np.random.RandomState(3).permutation(len(LENGTHS))


def dataset(ratio=0, **settings):
    if ratio:
        drawer = partial(draw_plan, ratio=ratio, alpha=0.4, pairing="random", seed=1)
        settings.update(draw_plan=drawer, classes=CLASSES)
    return MixupDataset("train", Base(), LENGTHS, **settings)
