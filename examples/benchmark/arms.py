"""What is timed: fairseq's own trainer under different flags, and a loop without it."""

import os
import shlex
from typing import NamedTuple

import fairseq_cli.train
import torch
from fairseq import options, tasks, utils
from fairseq.data import iterators
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from naive import NAIVE_CRITERION


class Shape(NamedTuple):
    teacher_layers: int
    student_layers: int
    width: int
    ffn_width: int
    heads: int
    vocabulary: int  # rows of the embedding


SHAPES = {
    "minilm": Shape(6, 3, 384, 1536, 12, 30522),
    "roberta-base": Shape(12, 6, 768, 3072, 12, 50265),
    "roberta-large": Shape(24, 12, 1024, 4096, 16, 50265),
}


class Settings(NamedTuple):
    shape: Shape
    work: str  # folder of this run's own: data, teacher, kept teacher outputs
    batch_size: int
    seed: int
    cuda: bool

    @property
    def data(self) -> str:
        return os.path.join(self.work, "data")

    @property
    def teacher(self) -> str:
        return os.path.join(self.work, "teacher.pt")

    @property
    def teacher_cache(self) -> str:
        return os.path.join(self.work, "teacher-cache")

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if self.cuda else "cpu")


class Spec(NamedTuple):
    what: str
    flags: str  # beside those of every arm; {teacher} and {cache} are paths
    bf16: bool = False


FINETUNE = "--task sentence_prediction --criterion sentence_prediction --arch roberta"
OURS = "--task mixkd_sentence_prediction --arch mixkd_roberta"
STEP = f"{OURS} --criterion mixkd --batch-by-length off"  # fairseq's batches
TEACHER, BF16_TEACHER = (
    f"--teacher-path {{teacher}} --teacher-dtype {dtype}" for dtype in ("float32", "bfloat16")
)
CLEAN = "--sm-weight 0 --tmkd-weight 0"
ADAMW = "--optimizer torch_adamw"
REPLAY = "--teacher-cache {cache} --mixup-period 1"
KD, MIXKD = f"{STEP} {TEACHER} {CLEAN} --kd-weight 1", f"{STEP} {BF16_TEACHER}"

STEP_SPECS = {
    "finetune": Spec("fairseq fine-tuning", FINETUNE),
    "finetune-bf16": Spec("fairseq fine-tuning in bfloat16", FINETUNE, bf16=True),
    "ours-finetune": Spec("ours, fine-tuning alone", f"{STEP} {CLEAN}"),
    "kd": Spec("ours, plain distillation, teacher logits cached", KD),
    "naive": Spec(
        "naive MixKD: four passes, float32 teacher",
        f"{OURS} --criterion {NAIVE_CRITERION} --batch-by-length off --naive-teacher {{teacher}}",
    ),
    "mixkd-padded": Spec(
        "full MixKD, float32 teacher, with padding", f"{STEP} {TEACHER} --padding-free off"
    ),
    "mixkd-float32-teacher": Spec("full MixKD, float32 teacher", f"{STEP} {TEACHER}"),
    "mixkd": Spec("full MixKD, bfloat16 teacher", MIXKD),
    "mixkd-kd": Spec("full MixKD and L_KD, its logits cached", f"{MIXKD} --kd-weight 1"),
    "mixkd-bf16": Spec("full MixKD in bfloat16", MIXKD, bf16=True),
    "kd-hidden": Spec("ours, plain distillation with hidden states", f"{KD} --hidden-weight 1"),
    "mixkd-splice": Spec(
        "full MixKD of spliced texts, bfloat16 teacher", f"{MIXKD} --mixup-kind splice"
    ),
    "kd-adamw": Spec("plain distillation, --optimizer torch_adamw", f"{KD} {ADAMW}"),
    "mixkd-adamw": Spec("full MixKD, --optimizer torch_adamw", f"{MIXKD} {ADAMW}"),
    "replay": Spec("full MixKD, teacher replayed", f"{MIXKD} {REPLAY}"),
    "no-teacher": Spec("L_MLE and L_SM: no teacher", f"{STEP} --tmkd-weight 0"),
}
EPOCH = f"{OURS} --criterion mixkd --mixup-pairing length"  # our default batches
EPOCH_SPECS = {
    "epoch-finetune": Spec("fairseq fine-tuning", FINETUNE),
    "epoch-mixkd-float32-teacher": Spec("full MixKD, float32 teacher", f"{EPOCH} {TEACHER}"),
    "epoch-mixkd": Spec("full MixKD, bfloat16 teacher", f"{EPOCH} {BF16_TEACHER}"),
}


class FairseqArm:
    """A run of ``fairseq-train``, its updates made one by one."""

    def __init__(self, settings: Settings, spec: Spec):
        if "{cache}" in spec.flags and not os.path.exists(settings.teacher_cache):
            fill_cache(settings, spec)
        self.trainer = build_trainer(settings, spec, settings.shape.student_layers)
        self.epochs = self.trainer.get_train_iterator(epoch=1)

    def load_steps(self) -> None:
        """Collate the batches of the first epoch, for :meth:`step`."""
        self.batches = list(self.epochs.next_epoch_itr(shuffle=True))
        self.trainer.begin_epoch(1)

    @property
    def ids(self):
        return [batch["id"].tolist() for batch in self.batches]

    def step(self, index: int) -> None:
        self._update([self.batches[index]])

    def epoch(self) -> None:
        """The next epoch, as fairseq's command goes through it, without validation or saving."""
        batches = iterators.GroupedIterator(self.epochs.next_epoch_itr(shuffle=True), 1)
        self.trainer.begin_epoch(self.epochs.epoch)
        for samples in batches:
            self._update(samples)
        self.epochs = self.trainer.get_train_iterator(
            self.epochs.next_epoch_idx, load_dataset=False
        )

    def _update(self, samples) -> None:
        with metrics.aggregate("train_inner"):
            self.trainer.train_step(samples)


def training_config(settings: Settings, spec: Spec, layers: int):
    """The configuration of a ``fairseq-train`` that neither validates nor saves."""
    shape = settings.shape
    paths = {"teacher": settings.teacher, "cache": settings.teacher_cache}
    flags = f"""
        --num-classes 2 --init-token 0 --batch-size {settings.batch_size} --num-workers 0
        --encoder-layers {layers} --encoder-embed-dim {shape.width}
        --encoder-ffn-embed-dim {shape.ffn_width} --encoder-attention-heads {shape.heads}
        --dropout 0.1 --attention-dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.98)'
        --weight-decay 0.01 --clip-norm 1 --lr 1e-5 --lr-scheduler polynomial_decay
        --total-num-update 1000000 --max-epoch 1 --disable-validation --no-save
        --no-save-optimizer-state --log-format none --seed {settings.seed}
        {"" if settings.cuda else "--cpu"} {spec.flags}"""
    flags = [settings.data] + [flag.format(**paths) for flag in shlex.split(flags)]
    args = options.parse_args_and_arch(options.get_training_parser(), flags)
    config = convert_namespace_to_omegaconf(args)
    config.common.bf16 = spec.bf16  # fairseq takes --bf16 on the command line for a TPU
    return config


def build_trainer(settings: Settings, spec: Spec, layers: int) -> Trainer:
    config = training_config(settings, spec, layers)
    utils.set_torch_seed(config.common.seed)
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model)
    criterion = task.build_criterion(config.criterion)
    task.load_dataset("train")
    return Trainer(config, task, model, criterion)


def fill_cache(settings: Settings, spec: Spec) -> None:
    """The first run of a sweep."""
    fairseq_cli.train.main(training_config(settings, spec, settings.shape.student_layers))


def save_teacher(settings: Settings) -> None:
    """A checkpoint of random weights: the speed of a trained one."""
    spec = Spec("", f"{STEP} {CLEAN}")
    trainer = build_trainer(settings, spec, settings.shape.teacher_layers)
    trainer.save_checkpoint(settings.teacher, {})
