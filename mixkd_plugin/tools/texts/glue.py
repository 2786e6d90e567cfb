"""GLUE's tasks: which columns of their files hold what, and how each task is judged."""

from typing import NamedTuple, Tuple

from .examples import Targets
from .reading import Columns


class GlueTask(NamedTuple):
    columns: Columns
    targets: Targets
    flags: str = ""  # of fairseq-train, for the metrics by which GLUE judges the task
    valid: Tuple[str, ...] = ("dev.tsv",)  # become the splits valid, valid1


BINARY = Targets(("0", "1"), fixed=True)
ENTAILMENT = Targets(("entailment", "not_entailment"), fixed=True)
F1, MCC = "--report-acc-and-f1", "--report-mcc"
CORRELATION = "--report-pearson-and-spearman"
SENTENCES = ("sentence1", "sentence2")
TASKS = {
    "CoLA": GlueTask(Columns((3,), (1,)), BINARY, MCC),
    "MNLI": GlueTask(
        Columns(SENTENCES, ("gold_label",)),
        # as in fairseq's roberta.large.mnli
        Targets(("contradiction", "neutral", "entailment"), fixed=True),
        valid=("dev_matched.tsv", "dev_mismatched.tsv"),
    ),
    "MRPC": GlueTask(Columns(("#1 String", "#2 String"), ("Quality",)), BINARY, F1),
    "QNLI": GlueTask(Columns(("question", "sentence"), ("label",)), ENTAILMENT),
    "QQP": GlueTask(Columns(("question1", "question2"), ("is_duplicate",)), BINARY, F1),
    "RTE": GlueTask(Columns(SENTENCES, ("label",)), ENTAILMENT),
    "SST-2": GlueTask(Columns(("sentence",), ("label",)), BINARY),
    # fairseq's GLUE recipe divides by 5, and so do we
    "STS-B": GlueTask(Columns(SENTENCES, ("score",)), Targets(None, maximum=5.0), CORRELATION),
}
