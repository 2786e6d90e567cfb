"""``--arch my_cnn``: convolutions over words and their maximum (Kim, 2014), no attention."""

from dataclasses import dataclass, field

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import register_model
from torch import nn

from mixkd_plugin import MixupModel

WORDS_AT_A_TIME = (1, 3, 5)  # odd: a window has a middle


@dataclass
class CNNConfig(FairseqDataclass):
    cnn_embed_dim: int = field(default=64, metadata={"help": "width of word embeddings"})
    cnn_channels: int = field(default=64, metadata={"help": "filters of each size"})
    cnn_dropout: float = field(default=0.1, metadata={"help": "of embeddings and features"})


@register_model("my_cnn", dataclass=CNNConfig)
class CNN(MixupModel):
    """What mixkd_plugin asks of a model of another family: to extend MixupModel, and features()."""

    def __init__(self, cfg, dictionary):
        words = nn.Embedding(len(dictionary), cfg.cnn_embed_dim, padding_idx=dictionary.pad())
        super().__init__(words, width=cfg.cnn_channels * len(WORDS_AT_A_TIME))
        self.filters = nn.ModuleList(
            nn.Conv1d(cfg.cnn_embed_dim, cfg.cnn_channels, size, padding=size // 2)
            for size in WORDS_AT_A_TIME
        )
        self.dropout = nn.Dropout(cfg.cnn_dropout)

    @classmethod
    def build_model(cls, cfg, task):
        return cls(cfg, task.source_dictionary)

    def features(self, embeddings, mask):
        """(R, T, E) embeddings and (R, T) where a word is, to (R, width)."""
        x = self.dropout(embeddings).transpose(1, 2)  # (R, E, T)
        x = torch.cat([torch.relu(convolve(x)) for convolve in self.filters], dim=1)
        # what a filter sees beyond the text's end must not win: it would depend on the padding
        x = x.masked_fill(~mask.unsqueeze(1), 0)
        return self.dropout(x.amax(dim=2))
