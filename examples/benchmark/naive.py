"""MixKD as one writes it first: four padded passes, and a teacher inside the criterion."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from fairseq import checkpoint_utils
from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)
from omegaconf import II

from mixkd_plugin.losses import LossWeights
from mixkd_plugin.mixup import Mix, mix_targets, stack_rows

NAIVE_CRITERION = "naive_mixkd"


@dataclass
class NaiveMixKDConfig(SentencePredictionConfig):
    classification_head_name: str = II("task.classification_head_name")
    regression_target: bool = II("task.regression_target")
    naive_teacher: str = field(default="", metadata={"help": "the teacher's checkpoint"})


@register_criterion(NAIVE_CRITERION, dataclass=NaiveMixKDConfig)
class NaiveMixKDCriterion(SentencePredictionCriterion):
    """L_MLE + L_KD + L_SM + L_TMKD of the same pairs, each kind of row in a pass of its own."""

    def __init__(self, cfg: NaiveMixKDConfig, task):
        super().__init__(cfg, task)
        task.declare_weights(LossWeights(mle=1.0, sm=1.0))  # mixes; the teacher is not the task's
        models, _ = checkpoint_utils.load_model_ensemble([cfg.naive_teacher])
        self.teacher = [models[0].eval().requires_grad_(False)]  # a list hides it from the trainer

    def forward(self, model, sample, reduce=True):
        tokens, targets = sample["net_input"]["src_tokens"], sample["target"].view(-1)
        mix = Mix(sample["partner"]["net_input"]["src_tokens"], sample["lam"])
        mixed_targets = mix_targets(targets, sample["partner"]["target"].view(-1), mix.lam, 2)
        teacher = self.teacher[0].to(tokens.device)

        clean, mixed = self._logits(model, tokens), self._mixed_logits(model, tokens, mix)
        with torch.no_grad():
            teacher_clean = self._logits(teacher, tokens)
            teacher_mixed = self._mixed_logits(teacher, tokens, mix)
        loss = F.cross_entropy(clean, targets, reduction="sum")
        loss = loss + F.cross_entropy(mixed, mixed_targets.to(mixed.dtype), reduction="sum")
        for student, taught in ((clean, teacher_clean), (mixed, teacher_mixed)):
            loss = loss + F.mse_loss(student, taught, reduction="sum") / student.size(1)
        n = len(targets)
        output = {"loss": loss.data, "ntokens": sample["ntokens"], "nsentences": n}
        return loss, n, {**output, "sample_size": n}

    def _logits(self, model, tokens):
        features, _ = model.encoder.extract_features(tokens)
        return model.classification_heads[self.classification_head_name](features)

    def _mixed_logits(self, model, tokens, mix):
        embed = model.encoder.sentence_encoder.embed_tokens
        rows, embeddings = stack_rows(embed, tokens, mix, with_clean=False)
        features, _ = model.encoder.extract_features(rows, token_embeddings=embeddings)
        return model.classification_heads[self.classification_head_name](features)
