"""Predict labels and probabilities of any number of texts by a student, or another classifier.

The output is CSV with a header: a label and the probability of each class, or the numbers of a
regression; one line for each text, in the order of the texts. An empty line is an empty text, in a
table of one column, too. Several labels of a text are those with a probability above 1/2, with |
between.
"""

import argparse
import os

from ..cli import (
    add_checkpoint_flags,
    add_tokenizer,
    command_parser,
    import_user_dir,
    named,
    positive,
    run_cli,
)
from ..texts.files import ALLOWED, READERS

EXAMPLE = "student texts.csv --text review --out predictions.csv"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("predict", __doc__, EXAMPLE)
    add = parser.add_argument
    add("student", metavar="STUDENT", help="a checkpoint.pt of fairseq, a folder of Hugging Face, "
        "or of ONNX (or its .onnx file)")  # fmt: skip
    add("texts", metavar="TEXTS",
        help=f"file with a text on each line (.txt), or a table ({ALLOWED}); "
             "- is standard input")  # fmt: skip
    add("--out", metavar="FILE", help="file to write; must be new (default: standard output)")
    add("--force", action="store_true", help="replace --out")
    add("--text", metavar="COLUMN[,COLUMN]",
        help="column of the text, or the two of a pair (default: found by name)")  # fmt: skip
    add("--format", choices=READERS, help="of TEXTS (default: by suffix; txt for -)")
    add("--batch-size", type=positive, default=32, metavar="N",
        help="texts in a batch (default: %(default)s)")  # fmt: skip
    add("--max-length", type=positive, metavar="N", help="longest text in tokens, longer ones are "
        "cut (default: as the student was trained)")  # fmt: skip
    add("--device", default="auto", metavar="NAME",
        help="cpu, cuda, cuda:1, ... (default: a GPU if there is one; ONNX: the CPU)")  # fmt: skip
    group = parser.add_argument_group("for a checkpoint of fairseq")
    add = group.add_argument
    add("--data", metavar="DIR", help="its data folder (default: the one of training)")
    add_tokenizer(group)
    add_checkpoint_flags(group)
    return parser


def work(args: argparse.Namespace) -> None:
    from .predict import predict
    from .students import open_student

    if args.out is not None and (os.path.isdir(args.out) or not os.path.basename(args.out)):
        raise ValueError(f"--out must be a file, got the folder {args.out!r}: add a name")
    if args.out is not None and os.path.lexists(args.out) and not args.force:
        raise ValueError(f"--out must be new, got {args.out}: --force replaces it")
    import_user_dir(args.user_dir)
    with named("STUDENT", args.student):
        student = open_student(
            args.student, args.max_length, args.device, args.data, args.tokenizer,
            args.classification_head_name,
        )  # fmt: skip
    predict(student, args.texts, args.out, args.format, args.text, args.batch_size)


def main(argv=None):
    run_cli("predict", build_parser, work, argv)
