"""Distil a text classifier into a student of fewer layers: from a table of texts to a model.

The teacher is scored, and the plan with the expected minutes is printed, before training begins.
--out gets the student as a Hugging Face folder, a report, and all commands that were run. The same
command continues an interrupted distillation.
"""

import argparse

from ..cli import add_out, command_parser, positive, run_cli
from ..encode.command import add_max_unknown
from .recipes import AUTO, RECIPES, best_recipes, recipes

EXAMPLE = "--teacher HF_DIR --train train.csv --dev dev.csv --layers 6 --out student"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("distil", __doc__, EXAMPLE)
    add = parser.add_argument_group("teacher").add_argument
    add("--teacher", metavar="PATH", help="fine-tuned Hugging Face folder, package or hub name, "
        "or a fairseq checkpoint with its tokenizer beside it")  # fmt: skip
    add("--encoder", metavar="PATH", help="pre-trained encoder instead of a teacher: a folder, "
        "package or hub name, which is fine-tuned as the teacher first")  # fmt: skip
    add("--tokenizer", metavar="KIND:PATH", help="of a fairseq checkpoint (default: hf:ITS FOLDER)")
    add("--labels", metavar="A,B,...", help="the data's labels in the order of the teacher's "
        "outputs (default: by their names; none, NA and the like mean no label, unless the "
        "teacher has an output of that name)")  # fmt: skip
    add("--allow-weak-teacher", action="store_true",
        help="go on with a teacher that is hardly better than the largest class")  # fmt: skip

    add = parser.add_argument_group("data").add_argument
    add("--train", metavar="FILE", help="training texts: .csv, .tsv or .jsonl, with a header")
    add("--dev", metavar="FILE", help="texts to score on (default: a tenth of --train)")
    add("--glue", metavar="DIR", help="instead: folder with GLUE's files")
    add("--task", metavar="NAME", help="the task of --glue")
    add("--text", metavar="COLUMN[,COLUMN]", help="column of the text, or two of a pair (default: "
        "found by name)")  # fmt: skip
    add("--label", metavar="COLUMN[,COLUMN]", help="column of the label, or one of 0 and 1 for "
        "each of several labels (default: found by name)")  # fmt: skip
    add("--multi-label", action="store_true", default=None, help="a text has any number of the "
        "classes (default: if the teacher has, or JSON has lists)")  # fmt: skip
    add("--label-separator", metavar="TEXT", help="between several labels in a column (default: |)")
    add("--regression", action="store_true", default=None,
        help="labels are numbers (default: if some have a fraction, or the teacher has "
        "one output)")  # fmt: skip
    add("--unlabelled", metavar="FILE", action="append", help="more texts, without labels, on "
        "which the teacher predicts: a table, or a .txt with a text on each line; may be "
        "repeated")  # fmt: skip
    add("--skip-bad-lines", action="store_true", default=None, help="leave out lines with "
        "missing fields or a part of their labels, and texts of --dev without a label")  # fmt: skip

    add_max_unknown(add)

    add = parser.add_argument_group("student").add_argument
    add("--layers", type=positive, metavar="N", help="layers of the student, >= 1 (default: half)")
    add("--width", type=positive, metavar="N", help="its width, a multiple of the size of the "
        "teacher's heads (default: the teacher's)")  # fmt: skip
    add("--init-layers", metavar="SPEC", help="the teacher's layers to begin with: spaced, first, "
        "or positions such as 0,2,4 (default: spaced)")  # fmt: skip
    add("--trim-vocabulary", action="store_true", default=None,
        help="leave out the pieces of words that no training text has")  # fmt: skip
    add("--length", type=positive, metavar="N", help="longest example in tokens (default: the "
        "99.5th percentile, at most the model's)")  # fmt: skip

    add = parser.add_argument_group("training").add_argument
    each = "; ".join(f"{name}: {recipe.about}" for name, recipe in RECIPES.items())
    add("--recipe", type=recipes, metavar="NAME[,NAME]", help=f"{each}; of several with a "
        f"teacher the better is kept; {AUTO} (default): {','.join(best_recipes(False))}, with "
        f"--trim-vocabulary {','.join(best_recipes(True))}, with a smaller --width "
        f"{','.join(best_recipes(False, narrower=True))}")  # fmt: skip
    add("--metric", choices=("accuracy", "f1", "micro_f1", "macro_f1"),
        help="chooses checkpoint and recipe on the dev set: accuracy (default) or f1, the macro F1 "
        "(of two classes with one named 1: its F1); with several labels for a text micro_f1 "
        "(default) or macro_f1")  # fmt: skip
    add("--fine-tuned-too", action="store_true", default=None,
        help="also train a student without the teacher, for comparison")  # fmt: skip
    add("--updates", type=positive, metavar="N",
        help="updates of each run (default: by the data's size)")  # fmt: skip
    add("--minutes", type=float, metavar="M",
        help="budget of the students' training, > 0 (default: none)")  # fmt: skip
    add("--batch-size", type=positive, metavar="N", help="sequences in an update (default: 32)")
    add("--lr", type=float, metavar="R", help="learning rate, > 0 (default: by the width)")
    add("--teacher-updates", type=positive, metavar="N", help="of fine-tuning --encoder (default: "
        "3 passes, at least 200)")  # fmt: skip
    add("--seeds", type=positive, metavar="N", help="runs of each recipe, >= 1 (default: 1)")
    add("--seed", type=positive, metavar="N", help="the first seed, >= 1 (default: 1)")
    add("--precision", choices=("fp32", "fp16", "bf16"),
        help="(default: bf16 or fp16 on a GPU; on a CPU fp32, or bf16 if faster)")  # fmt: skip
    add("--cpu", action="store_true", default=None, help="do not use a GPU")
    add("flags", nargs="*", metavar="-- FLAGS", help="flags of fairseq-train for every student")

    add = parser.add_argument_group("result").add_argument
    add_out(parser, "folder for the student, its report and work, of this distillation")
    add("--onnx", action="store_true", default=None, help="also write OUT/onnx, in float32")
    add("--int8", action="store_true", default=None, help="also write OUT/onnx, in int8 instead")
    add("--min-retention", type=float, metavar="SHARE", help="exit 1 if the student has less of "
        "the teacher's score, 0 to 1 (default: 0)")  # fmt: skip
    add("--dry-run", action="store_true", help="stop after the plan")
    add("--plan", metavar="FILE", help="plan.yaml of an earlier run: its settings are the defaults")
    return parser


def work(args: argparse.Namespace) -> int:
    from .distil import distil

    return distil(args)


def main(argv=None):
    run_cli("distil", build_parser, work, argv)
