"""Import an encoder or classifier of Hugging Face as a fairseq checkpoint, with its tokenizer.

The result is compared with transformers before it is written.
"""

import argparse
import os
import shlex
import sys

from ...names import join_names, split_names
from ..cli import add_out, command_parser, named, run_cli
from ..output import check_out

EXAMPLE = "distilbert-base-uncased --out encoder"


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser("import", __doc__, EXAMPLE)
    add = parser.add_argument
    add("source", metavar="SOURCE", help="folder, installed package or Hugging Face name")
    add_out(parser, "folder for model.pt, dict.txt and tokenizer.json", word=True)
    add("--labels", metavar="A,B,...",
        help="names of the classes in the head's order (default: the source's)")  # fmt: skip
    add("--dev", metavar="FILE", help="labelled texts: .csv, .tsv or .jsonl; the classes get their "
        "labels, matched by names, or by the predictions for them")  # fmt: skip
    add("--text", metavar="COLUMN[,COLUMN]", help="of --dev: column of the text, or two of a pair "
        "(default: found by name)")  # fmt: skip
    add("--label", metavar="COLUMN", help="of --dev: column of the label (default: found by name)")
    add("--encoder-only", action="store_true", help="import the encoder without its head")
    add("--one-token-type", action="store_true", help="keep the first of two token types for both "
        "texts of a pair: its logits change")  # fmt: skip
    return parser


def work(args: argparse.Namespace) -> None:
    from ...checkpoints.outputs import DEFAULT_HEAD
    from .import_hf import import_encoder
    from .match import match_table

    check_out(args.out, args.force)
    labels = split_names(args.labels) if args.labels is not None else None
    if args.dev is not None:
        matched = match_table(args.source, args.dev, args.text, args.label, args.labels)
        labels = matched.order
        print(*matched.notes, sep="\n", end="\n" if matched.notes else "")
    elif args.text is not None or args.label is not None:
        raise ValueError("--text and --label must be given with --dev, got them without it")
    with named("SOURCE", args.source):
        done = import_encoder(
            args.source, args.out, args.force, labels, args.encoder_only, args.one_token_type
        )
    config = done.config
    kind = ", ".join(config.raw.get("architectures") or [f"model_type {config.theirs.model_type}"])
    print(
        f"{os.path.join(args.out, 'model.pt')}: {kind}, {config.num_hidden_layers} layers of "
        f"{config.hidden_size}, {config.num_attention_heads} heads, {config.vocab_size} symbols, "
        f"{config.longest} positions, {done.types} token type{'s' if done.types > 1 else ''}"
    )
    head = f"classification head {DEFAULT_HEAD}: {done.head}"
    print(head if done.head else "no classification head")
    print("\n".join(done.found))
    print(f"compared with transformers on {done.compared} texts and pairs: equal")
    if done.of_pairs > 0:
        print(
            "import: WARNING: this classifier has two token types, and the second text of a "
            "pair gets the first one here (--one-token-type): its logits of pairs differ by up to "
            f"{done.of_pairs:.2g} from transformers'. Single texts are equal.",
            file=sys.stderr,
        )
    order = "" if labels is None else f" --labels={shlex.quote(join_names(labels))}"
    print(f"encode texts with --tokenizer {done.tokenizer}{order}")


def main(argv=None):
    run_cli("import", build_parser, work, argv)
