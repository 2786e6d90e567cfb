"""Turn labelled texts into a data folder for sentence prediction, as `fairseq-preprocess` does.

A problem in a file stops the command with the file and line, and nothing is written. The folder
gets train_flags.txt: the flags of `fairseq-train` that the data need. It remembers its tokenizer
and longest example for `mixkd export` and `mixkd predict`.

Files are in UTF-8. Classes are those of the training file, sorted; --labels names them in another
order. A name with a comma needs quotation marks: --labels '"Yes, sure",No'. Blanks become _.
Labels that look alike (1 and 1.0, Good and good) are errors unless --labels names them. An empty
field, NaN, null, None and NA are missing labels; with --multi-label an empty field means that the
text has none of the classes. Of a pair that is too long, the longer text is cut first. A special
symbol that a text spells, such as [SEP], is read as the model's own.
"""

import argparse
from collections.abc import Callable
from typing import Any

from ...tokenizers.specs import TOKENIZERS
from ..cli import add_out, command_parser, run_cli
from ..output import FULL
from ..texts.files import ALLOWED
from ..texts.glue import TASKS

MAX_UNKNOWN = 0.25  # share of <unk>; GLUE by MiniLM's tokenizer has 0, odd texts have 0.2
EXAMPLE = """--train train.csv --valid dev.csv --text question,answer --label relevant \\
      --tokenizer hf:encoder --out data"""


class _Once(argparse.Action):
    """An argument that must be given once: argparse silently drops the first of two values."""

    def __call__(self, parser, namespace, values, option_string=None):
        first = getattr(namespace, self.dest)
        if first is not None:
            parser.error(f"{option_string} must be given once, got {first!r} and {values!r}")
        setattr(namespace, self.dest, values)


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("encode", __doc__, EXAMPLE)
    add = parser.add_argument_group("GLUE's files").add_argument
    add("--glue", metavar="DIR", help="folder with train.tsv and dev.tsv of the task")
    add("--task", metavar="NAME", help=f"one of {', '.join(TASKS)}")
    add = parser.add_argument_group("or files of your own").add_argument
    add("--train", action=_Once, metavar="FILE", help=f"training examples ({ALLOWED})")
    add("--valid", action=_Once, metavar="FILE[,FILE...]",
        help="files of the splits valid, valid1, ...")  # fmt: skip
    add("--text", action=_Once, metavar="COLUMN[,COLUMN]", help="column of the text; two for pairs")
    add("--label", action=_Once, metavar="COLUMN",
        help="column of the label; A,B: several targets or classes")  # fmt: skip
    add("--regression", action="store_true", help="labels are numbers (default: classes)")
    add("--multi-label", action="store_true", help="any number of classes for a text: --label is a "
        "column with their names, as in a|b or a list in JSON (empty: none of them), or a column "
        "of 0 and 1 for each class")  # fmt: skip
    add("--label-separator", metavar="TEXT", help="between the names of a text (default: |)")
    add("--format", metavar="NAME", help=f"format of the files: {ALLOWED} (default: by suffix)")
    add("--no-header", action="store_true", help="no header: columns are positions from 0")
    add = parser.add_argument_group("for both").add_argument
    add("--labels", metavar="A,B,...", help="all classes in the order of their indices "
        "(--labels=-1,1 if a minus is first)")  # fmt: skip
    add("--tokenizer", required=True, metavar="KIND:PATH", help="; ".join(TOKENIZERS.values()))
    add("--dict", metavar="FILE", help="the model's dict.txt (default: beside the tokenizer)")
    add_out(parser, "data folder to write")
    add("--max-length", "--max-tokens", type=int, default=128, metavar="N", help="longest example "
        "in tokens, with <s> and </s>; longer ones are cut (default: %(default)s)")  # fmt: skip
    add("--skip-bad-lines", action="store_true", help="skip lines with missing fields, or without "
        "a required label (default: error)")  # fmt: skip
    add("--unlabelled", action="store_true",
        help="allow training examples with an empty label (default: error)")  # fmt: skip
    add_max_unknown(add, default=MAX_UNKNOWN)
    add("--trim-vocabulary", action="store_true", help="use only the pieces of the training texts, "
        "special symbols and single characters: a student's own tokenizer and dictionary, which "
        "OUT/tokenizer keeps for --tokenizer hf:DIR")  # fmt: skip
    add("--workers", type=int, metavar="N",
        help="threads of the tokenizer (default: the CPUs that this process may use)")  # fmt: skip
    return parser


def add_max_unknown(add: Callable[..., Any], default: float | None = None) -> None:
    """The flag, of a parser's or a group's ``add``; for :func:`encode`, where it is given."""
    add("--max-unknown", type=float, default=default, metavar="SHARE", help="largest share of "
        f"<unk> in a column of a split, 0 to 1 (default: {MAX_UNKNOWN})")  # fmt: skip


def work(args: argparse.Namespace) -> None:
    from .encode import encode
    from .sources import source_of

    try:
        flags = encode(
            source_of(args), args.tokenizer, args.out, args.dict, args.max_length,
            args.skip_bad_lines, args.unlabelled, args.workers, args.max_unknown,
            args.trim_vocabulary, args.force,
        )  # fmt: skip
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ValueError(f"--out must be writable, got {args.out}: {error.strerror}") from error
    print(f"{args.out}: {flags}")


def main(argv=None):
    run_cli("encode", build_parser, work, argv)
