"""Plain logits distillation by other tools, an epoch at a time, each as its documentation has it.

transformers' RoBERTa of the same shape in random batches of the same examples, padded to the
longest of the batch, with transformers' default attention; a float32 teacher. Logits are distilled
and labels count: what our arms call plain distillation, so less than MixKD computes.
"""

import contextlib
import io
import os
import sys
from typing import Callable, Dict, List

import torch
from arms import Settings
from fairseq.data import data_utils

PAD, FIRST = 1, 0  # <pad>, <s>

RIVALS = {
    "epoch-transformers": "transformers: fine-tuning in a bare loop",
    "epoch-textbrewer": "TextBrewer: plain distillation",
    "epoch-textbrewer-cached": "TextBrewer: the teacher's logits kept from an epoch before",
    "epoch-modelopt": "NVIDIA Model-Optimizer: plain distillation",
}


class Rivals:
    """Builds one ``epoch()`` for each of :data:`RIVALS`."""

    def __init__(self, settings: Settings):
        self.settings = settings
        # fairseq asks for torchaudio, whose newest build need not fit torch; transformers tries it
        sys.modules.setdefault("torchaudio", None)
        self.loader = torch.utils.data.DataLoader(
            read_examples(settings.data),
            batch_size=settings.batch_size,
            shuffle=True,
            collate_fn=collate,
        )

    def build(self, name: str) -> Callable[[], None]:
        student = self._model(self.settings.shape.student_layers).train()
        build = {
            "epoch-transformers": self._loop,
            "epoch-textbrewer": self._textbrewer,
            "epoch-textbrewer-cached": self._textbrewer_cached,
            "epoch-modelopt": self._modelopt,
        }
        return build[name](student)

    def _model(self, layers: int):
        from transformers import RobertaConfig, RobertaForSequenceClassification

        shape = self.settings.shape
        config = RobertaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.ffn_width,
            max_position_embeddings=514,
            type_vocab_size=1,
            num_labels=2,
        )
        return RobertaForSequenceClassification(config).to(self.settings.device)

    def _teacher(self):
        return self._model(self.settings.shape.teacher_layers).eval().requires_grad_(False)

    def _loop(self, model, loss_of=lambda output: output.loss) -> Callable[[], None]:
        optimizer = adamw(model)

        def epoch():
            for batch in self.loader:
                batch = {key: value.to(self.settings.device) for key, value in batch.items()}
                loss = loss_of(model(**batch))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

        return epoch

    def _modelopt(self, student) -> Callable[[], None]:
        import modelopt.torch.distill as mtd

        settings = {
            "teacher_model": self._teacher(),
            "criterion": {("classifier", "classifier"): mtd.LogitsDistillationLoss()},
            "loss_balancer": mtd.StaticLossBalancer(0.5),
        }
        student = mtd.convert(student, mode=[("kd_loss", settings)])
        student.train()  # returns nothing here
        return self._loop(student, lambda output: student.compute_kd_loss(output.loss))

    def _textbrewer(self, student, distiller: str = "GeneralDistiller", **options):
        import textbrewer

        def adaptor(batch, output):
            return {"logits": output.logits, "losses": output.loss}

        train = textbrewer.TrainingConfig(
            ckpt_frequency=0,  # saves nothing
            output_dir=os.path.join(self.settings.work, "textbrewer"),
            device=self.settings.device,
        )
        distill = textbrewer.DistillationConfig(
            temperature=1, kd_loss_type="mse", hard_label_weight=1, **options
        )
        distiller = getattr(textbrewer, distiller)(
            train, distill, self._teacher(), student, adaptor, adaptor
        )
        optimizer = adamw(student)

        def epoch(loader=self.loader):
            # its progress bars stay away from what is no terminal
            with contextlib.redirect_stderr(io.StringIO()), distiller:
                distiller.train(optimizer, loader, num_epochs=1, max_grad_norm=1.0)

        epoch.distiller = distiller
        return epoch

    def _textbrewer_cached(self, student) -> Callable[[], None]:
        # GeneralDistiller turns its cache off, whatever the configuration says
        epoch = self._textbrewer(student, "BasicDistiller", is_caching_logits=True)
        epoch()
        # It fills its cache at the start of each call. Ours are further epochs of that first call.
        distiller = epoch.distiller
        distiller.cache_logits = lambda *_: None
        return lambda: epoch(distiller.logits_cache)


def adamw(model) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(parameters, lr=1e-5, betas=(0.9, 0.98), weight_decay=0.01)


def read_examples(data: str) -> List[Dict[str, torch.Tensor]]:
    """The examples of a fairseq data folder, <s> first."""
    texts = data_utils.load_indexed_dataset(os.path.join(data, "input0", "train"), None)
    labels = data_utils.load_indexed_dataset(os.path.join(data, "label", "train"), None)
    first = torch.tensor([FIRST])
    return [
        {"tokens": torch.cat([first, texts[i].long()]), "label": labels[i][0] % 2}
        for i in range(len(texts))
    ]


def collate(examples) -> Dict[str, torch.Tensor]:
    tokens = torch.nn.utils.rnn.pad_sequence(
        [example["tokens"] for example in examples], batch_first=True, padding_value=PAD
    )
    return {
        "input_ids": tokens,
        "attention_mask": tokens.ne(PAD).long(),
        "labels": torch.stack([example["label"] for example in examples]).long(),
    }
