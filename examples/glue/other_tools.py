"""Distillation by other tools on a cell of a study: same teacher, texts, updates and rows.

    mixkd export OUT/runs/R8/1/teacher/seed1/checkpoint_last.pt --to hf --out TEACHER
    python examples/glue/other_tools.py --teacher TEACHER --glue GLUE --task R8 --fraction 0.1 \
        --seed 11 --updates 200 --length 96 --results OUT/other_tools.jsonl

- `Trainer`: transformers' Trainer with batches of similar length; the loss is cross-entropy plus
  the mean squared error of the logits (as in the study's arm KD).
- `TextBrewer`: its GeneralDistiller as its documentation has it, without labels: logits at
  temperature 8 (of a regression: the squared error), and the hidden states, the student's 0 to 3
  matched with the teacher's 0, 2, 4, 6.

Both begin with the teacher's layers 0, 2, 4, embeddings and head, and use AdamW with the study's
rate, warm-up and clipping. The scores are scikit-learn's and SciPy's. --results gets a line in the
form of a study's, for `mixkd report`. Needs transformers, accelerate, textbrewer and tensorboard.
"""

import argparse
import copy
import json
import sys
import tempfile
import time
from pathlib import Path

if "torchaudio" not in sys.modules:  # transformers imports it, and fails where it is broken
    sys.modules["torchaudio"] = None

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import cross_entropy, mse_loss
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
    set_seed,
)

from mixkd_plugin.data.mixup_plan import stratified_subset
from mixkd_plugin.models.hf_parts import layer_lists
from mixkd_plugin.tools.study.tasks import files_of
from mixkd_plugin.tools.texts.columns import find_columns
from mixkd_plugin.tools.texts.glue import TASKS
from mixkd_plugin.tools.texts.reading import Columns, read_table

KEPT = 0, 2, 4  # the teacher's layers that the student begins with
WARMUP, DECAY, BETAS, CLIP = 0.1, 0.01, (0.9, 0.98), 1.0
TEMPERATURE = 8


def read(path: str, columns: Columns, tokenizer, label_of, length: int) -> list[dict]:
    """The examples of a file, as token ids with their label: ``label_of`` the field's text."""
    table = read_table(path, columns)
    texts = ([fields[at] for _, fields in table.lines] for at in table.texts)
    encoded = tokenizer(*texts, truncation=True, max_length=length)
    (label,) = table.labels
    return [
        {**{key: encoded[key][at] for key in encoded}, "labels": label_of(fields[label])}
        for at, (_, fields) in enumerate(table.lines)
    ]


def first_student(teacher):
    """A copy of the teacher with its layers KEPT alone."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    (name,) = layer_lists(student, teacher.config.num_hidden_layers)
    layers = student.get_submodule(name)
    student.set_submodule(name, torch.nn.ModuleList(layers[at] for at in KEPT))
    student.config.num_hidden_layers = len(KEPT)
    return student


def optimizer_of(student, args):
    optimizer = torch.optim.AdamW(student.parameters(), args.lr, BETAS, weight_decay=DECAY)
    warm = int(WARMUP * args.updates)
    return optimizer, get_linear_schedule_with_warmup(optimizer, warm, args.updates)


class KDTrainer(Trainer):
    """transformers' Trainer with a teacher."""

    def __init__(self, teacher, **more):
        super().__init__(**more)
        self.teacher = teacher

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        labels = inputs.pop("labels")
        logits = model(**inputs).logits.float()
        with torch.no_grad():
            taught = self.teacher(**inputs).logits.float()
        return label_loss(logits, labels) + mse_loss(logits, taught)


def label_loss(logits, labels):
    if is_regression(logits.shape[1]):
        return mse_loss(logits[:, 0], labels)
    return cross_entropy(logits, labels)


def is_regression(outputs: int) -> bool:
    return outputs == 1


def train_with_trainer(teacher, student, examples, collate, args) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            max_steps=args.updates,
            per_device_train_batch_size=args.rows,
            max_grad_norm=CLIP,
            train_sampling_strategy="group_by_length",
            use_cpu=True,
            bf16=args.bf16,
            seed=args.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        KDTrainer(
            teacher,
            model=student,
            args=settings,
            train_dataset=examples,
            data_collator=collate,
            optimizers=optimizer_of(student, args),
        ).train()


def train_with_textbrewer(teacher, student, examples, collate, args) -> None:
    import textbrewer

    def adaptor(batch, output):
        return {
            "logits": output.logits.float(),
            "hidden": [states.float() for states in output.hidden_states],
            "inputs_mask": batch["attention_mask"],
        }

    deep = teacher.config.num_hidden_layers  # state 0 is the embeddings', the last to the last
    matches = [
        {"layer_T": own * deep // len(KEPT), "layer_S": own, "feature": "hidden",
         "loss": "hidden_mse", "weight": 1}
        for own in range(len(KEPT) + 1)
    ]  # fmt: skip
    for model in (teacher, student):
        model.config.output_hidden_states = True
        model.forward = torch.autocast("cpu", torch.bfloat16, args.bf16)(model.forward)
    loader = torch.utils.data.DataLoader(
        examples, args.rows, shuffle=True, collate_fn=lambda some: dict(collate(some))
    )
    optimizer, schedule = optimizer_of(student, args)
    loss = {"temperature": TEMPERATURE}
    if is_regression(teacher.config.num_labels):
        loss = {"temperature": 1, "kd_loss_type": "mse"}
    with tempfile.TemporaryDirectory() as folder:
        distiller = textbrewer.GeneralDistiller(
            textbrewer.TrainingConfig(output_dir=folder, device="cpu", ckpt_steps=args.updates),
            textbrewer.DistillationConfig(intermediate_matches=matches, **loss),
            teacher,
            student,
            adaptor,
            adaptor,
        )
        with distiller:
            distiller.train(
                optimizer,
                loader,
                num_epochs=None,
                scheduler=schedule,
                num_steps=args.updates,
                max_grad_norm=CLIP,
            )


def scores(model, examples, collate) -> dict[str, float]:
    """In percent, under the names of `mixkd report`."""
    loader = torch.utils.data.DataLoader(examples, 64, collate_fn=collate)
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(**batch).logits for batch in loader]).float()
    labels = [example["labels"] for example in examples]
    if is_regression(logits.shape[1]):
        both = [100 * function(logits[:, 0], labels)[0] for function in (pearsonr, spearmanr)]
        return dict(zip(("pearson", "spearman"), both), pearson_and_spearman=sum(both) / 2)
    classes = logits.argmax(1).numpy()
    accuracy = 100 * accuracy_score(labels, classes)
    f1 = 100 * f1_score(labels, classes, average="binary" if logits.shape[1] == 2 else "macro")
    return {"accuracy": accuracy, "f1": f1, "acc_and_f1": (accuracy + f1) / 2}


TOOLS = {"Trainer": train_with_trainer, "TextBrewer": train_with_textbrewer}


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--teacher", required=True, help="Hugging Face folder of the teacher")
    add("--glue", required=True, type=Path, help="folder of the tasks, as for `mixkd study`")
    add("--task", required=True)
    add("--fraction", type=float, default=0.1, help="of the training texts")
    add("--seed", type=int, default=1, help="of the subset, the batches and dropout")
    add("--tools", default=",".join(TOOLS), help="of %(default)s")
    add("--updates", type=int, default=200)
    add("--rows", type=int, default=16, help="texts in an update")
    add("--length", type=int, default=96, help="longest text, in tokens")
    add("--lr", type=float, default=2e-4)
    add("--bf16", action="store_true", help="compute in bfloat16")
    add("--results", required=True, type=Path, help="file that gets a line for each tool")
    args = parser.parse_args(argv)
    tokenizer = AutoTokenizer.from_pretrained(args.teacher)
    collate = DataCollatorWithPadding(tokenizer)
    files = [str(args.glue / args.task / name) for name in files_of(args.task)[:2]]
    known = TASKS.get(args.task)
    config = AutoConfig.from_pretrained(args.teacher)
    scale = known and known.targets.maximum or 1.0
    regression = is_regression(config.num_labels)
    label_of = (lambda text: float(text) / scale) if regression else config.label2id.__getitem__
    try:
        columns = known.columns if known else find_columns(files[0], None, None)
        train, dev = (read(file, columns, tokenizer, label_of, args.length) for file in files)
    except ValueError as error:
        parser.error(f"--task {args.task}: {error}")
    labels = np.array([0 if regression else example["labels"] for example in train])
    part = [train[at] for at in stratified_subset(labels, args.fraction, args.seed)]
    for tool in args.tools.split(","):
        teacher = AutoModelForSequenceClassification.from_pretrained(args.teacher)
        teacher.eval().requires_grad_(False)
        set_seed(args.seed)
        student, began = first_student(teacher), time.time()
        TOOLS[tool](teacher, student, part, collate, args)
        seconds = time.time() - began
        epochs, rest = divmod(args.updates, -(-len(part) // args.rows))
        line = {
            "task": args.task, "fraction": args.fraction, "seed": args.seed, "arm": tool,
            "student": f"{len(KEPT)}-layer", "data": "gold", "variant": "recipe",
            "status": "done", "metrics": {"valid": scores(student, dev, collate)},
            "updates": args.updates, "examples": len(part),
            "examples_seen": epochs * len(part) + rest * args.rows, "seconds": round(seconds, 1),
        }  # fmt: skip
        with open(args.results, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
