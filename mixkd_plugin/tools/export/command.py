"""Export a trained student for serving without fairseq and this plugin.

The result is compared with fairseq on texts of the data, and not written if it differs.
"""

import argparse
import math
import os

from ...names import as_flag
from ..cli import (
    add_checkpoint_flags,
    add_out,
    add_tokenizer,
    command_parser,
    import_user_dir,
    positive,
    run_cli,
)
from ..output import check_out
from .formats import FORMATS

EXAMPLE = "student/checkpoint_last.pt --to onnx-int8 --out served"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("export", __doc__, EXAMPLE)
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a student, such as student/checkpoint_last.pt")
    add_out(parser, "folder to write", word=True)
    add("--to", required=True, choices=FORMATS, help="format of the result")
    add_tokenizer(parser)
    add("--data", metavar="DIR", help="data folder (default: the one of training)")
    add("--text", metavar="FILE", help="texts for the comparison (default: the data's split valid)")
    add("--tolerance", type=float, metavar="D", help="largest difference of logits allowed, >= 0 "
        "(default: by format; of a regression relative to its largest output, if that is above "
        "1)")  # fmt: skip
    shares = ", ".join(f"{name}: {form.agreement:g}" for name, form in FORMATS.items())
    add("--min-agreement", type=float, metavar="SHARE",
        help="least share, 0 to 1, of texts with fairseq's class; for regression, correlation of "
             f"the outputs (default: {shares})")  # fmt: skip
    add("--max-length", type=positive, metavar="N",
        help="tokens to which texts are cut (default: as the data was encoded)")  # fmt: skip
    add_checkpoint_flags(parser)
    return parser


def work(args: argparse.Namespace) -> None:
    from .export import export

    for name, most in (("tolerance", math.inf), ("min_agreement", 1)):
        value = vars(args)[name]
        if value is not None and not 0 <= value <= most:
            raise ValueError(f"{as_flag(name)} must be in [0, {most}], got {value:g}")
    check_out(args.out, args.force)
    import_user_dir(args.user_dir)
    parity = export(
        args.checkpoint, args.out, args.to, args.tokenizer, args.data, args.text, args.tolerance,
        args.force, args.classification_head_name, args.min_agreement, args.max_length,
    )  # fmt: skip
    form = FORMATS[args.to]
    print(f"{os.path.join(args.out, form.file)}: {form.megabytes(args.out):.1f} MB")
    same = "" if math.isnan(parity.agreement) else f", {parity.agreement:.1%} of one class with it"
    print(
        f"compared with fairseq on {parity.texts} texts: logits differ by at most "
        f"{parity.difference:.2e} (allowed: {parity.bound:.2e}){same}"
    )


def main(argv=None):
    run_cli("export", build_parser, work, argv)
