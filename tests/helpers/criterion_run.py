"""One step of the loss: task, criterion, student, teacher and a batch."""

from unittest import mock

import inprocess
import torch
import torch.nn.functional as F
from fairseq import tasks
from fairseq.models.roberta import RobertaModel
from tiny_models import build
from toy import HEAD, train_flags

from mixkd_plugin.mixup import Mix
from mixkd_plugin.models.encode import encode
from mixkd_plugin.teacher.ensemble import TeacherEnsemble
from mixkd_plugin.teacher.logits import TeacherLogits

CLASSES = 3
WEIGHTS = (0.5, 2.0, 0.25, 3.0)


def weight_flags(weights):
    names = ("--mle-weight", "--kd-weight", "--sm-weight", "--tmkd-weight")
    return [part for pair in zip(names, weights) for part in pair]


def labelled(batch):
    """Which of its examples have a gold label."""
    target = batch["target"].view(len(batch["id"]), -1)
    target = target.nan_to_num(-1.0 if target.is_floating_point() else 0)
    return [bool((row >= 0).all()) for row in target]


class Run:
    """Task, criterion, student without dropout, teacher and a batch of training."""

    def __init__(self, data, regression, *flags):
        flags = train_flags(data, "unused", "--dropout", 0, "--attention-dropout", 0, *flags)
        flags[flags.index("--num-classes") + 1] = CLASSES
        if regression:
            flags.append("--regression-target")
        config = inprocess.training_config(flags)
        self.task = tasks.setup_task(config.task)
        self.student = self.task.build_model(config.model)
        self.criterion = self.task.build_criterion(config.criterion)
        teacher = build(RobertaModel, 7, pad_row=0.3, words=len(self.task.dictionary) - 4)
        teacher.register_classification_head(HEAD, num_classes=CLASSES)
        self.teacher_model = teacher.eval()
        teacher_of_one = TeacherEnsemble([teacher], [1.0], HEAD, padding_free=True)
        self.task.teacher = TeacherLogits(
            lambda: teacher_of_one, self.task.cfg.num_classes, torch.device("cpu")
        )
        self.task.teacher.load()
        dataset = self.task.load_dataset("train", combine=False)
        dataset.set_epoch(3)
        self.sample = dataset.collater([dataset[i] for i in range(8)])

    def weigh(self, **weights):
        self.criterion.weights = self.criterion.weights._replace(**weights)
        self.task.declare_weights(self.criterion.weights)

    def loss(self):
        self.student.train()
        return self.criterion(self.student, self.task.complete(self.sample)[0])

    def gradients(self, loss):
        found = torch.autograd.grad(loss, list(self.student.parameters()), allow_unused=True)
        return [g for g in found if g is not None]

    def assert_loss(self, expected):
        """The four terms, their weighted sum and its gradient; (sample size, what is logged)."""
        loss, sample_size, output = self.loss()
        for name, value in zip(("mle", "kd", "sm", "tmkd"), expected):
            torch.testing.assert_close(output[f"{name}_loss"], value.detach(), rtol=1e-4, atol=1e-5)
        total = sum(w * value for w, value in zip(WEIGHTS, expected))
        torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-5)
        found = self.gradients(loss)
        torch.testing.assert_close(found, self.gradients(total), rtol=1e-3, atol=1e-5)
        return sample_size, output

    def step(self, sample, **arguments):
        """The loss of an update, the sample size, and what it logs."""
        optimizer = mock.Mock(backward=lambda loss: loss.backward())
        return self.task.train_step(sample, self.student, self.criterion, optimizer, 0, **arguments)

    def logits(self, model, mixed=False):
        """One kind of rows, one at a time: nothing is stacked."""
        tokens, head = self.sample["net_input"]["src_tokens"], HEAD
        if not mixed:
            return torch.cat([encode(model, head, t[None], None, False) for t in tokens])
        partners, lam = self.sample["partner"]["net_input"]["src_tokens"], self.sample["lam"]
        is_text = self.sample.get("is_text", False)
        is_text = torch.as_tensor(is_text).expand(len(lam))
        mixes = [Mix(p[None], weight[None], False) for p, weight in zip(partners, lam)]
        return torch.cat(
            [
                encode(model, head, mix.partner_tokens, None, padding_free=False)
                if is_text[m]
                else encode(model, head, tokens[m % 8][None], mix, padding_free=False)
                for m, mix in enumerate(mixes)
            ]
        )

    def terms(self, regression, kind="mse", temperature=1.0):
        """The four terms example by example, those of the labels over the labelled alone."""
        sample, n = self.sample, len(self.sample["id"])
        clean, mixed = self.logits(self.student), self.logits(self.student, mixed=True)
        with torch.no_grad():
            t_clean, t_mixed = (self.logits(self.teacher_model, mixed=m) for m in (False, True))
        own, other = labelled(sample), labelled(sample["partner"])
        ratio = len(other) // n
        y, y_other = sample["target"], sample["partner"]["target"]

        def label_loss(logits, target):
            if regression:
                return ((logits - target.float().view(-1)) ** 2).sum()
            return F.cross_entropy(logits[None], target.view(1))

        def far(a, b):
            if kind == "mse":
                return ((a - b) ** 2).sum() / (1 if regression else CLASSES)
            p, log_q = F.softmax(b / temperature, dim=1), F.log_softmax(a / temperature, dim=1)
            return temperature**2 * F.kl_div(log_q, p, reduction="sum")

        mle = sum(label_loss(clean[i], y[i]) for i in range(n) if own[i])
        sm = 0.0
        for m, lam in enumerate(sample["lam"].float()):
            i = m % n
            if own[i] and other[m]:
                if regression:
                    sm = sm + label_loss(mixed[m], lam * y[i] + (1 - lam) * y_other[m])
                else:
                    sm = sm + lam * label_loss(mixed[m], y[i])
                    sm = sm + (1 - lam) * label_loss(mixed[m], y_other[m])
        return [mle, far(clean, t_clean), sm / ratio, far(mixed, t_mixed) / ratio]
