"""Turn GLUE files into a data folder for sentence prediction, through `fairseq-preprocess`.

    python -m mixkd_plugin.tools.encode --glue DIR --task SST-2 \
        --tokenizer wordpiece:MODEL_DIR --out DATA_DIR

DIR holds train.tsv and dev.tsv (MNLI: dev_matched.tsv, dev_mismatched.tsv) in GLUE's own columns.
DATA_DIR gets `input0 [input1] label` with the splits train and valid (and valid1), and
`train_flags.txt`, the flags that the data asks for:
`fairseq-train DATA_DIR $(cat DATA_DIR/train_flags.txt) ...` is right for every task. `texts.json`
holds a digest of each split's texts: by it `--teacher-data` knows the same texts in another
vocabulary.

Labels are numbered in the order of glue.py, not by frequency: a label has the same index in every
data folder of the task, and 0/1 labels are their own index. Pairs are laid out as the tokenizer's
family does: <s> A </s> B </s> for wordpiece, as BERT, <s> A </s> </s> B </s> for the others, as
RoBERTa.
"""

import argparse
import logging
import os
import shlex
import shutil
import sys
import tempfile
from contextlib import ExitStack
from typing import Dict, List, Optional, Sequence

from fairseq import options
from fairseq_cli import preprocess as fairseq_preprocess

from ..texts import digest_of_texts, write_digests
from .glue import NO_CLASS, NO_SCORE, TASKS, Example, GlueTask, read_examples
from .subwords import TOKENIZERS, Tokenizer, build_tokenizer


def encode(
    glue: str,
    task_name: str,
    tokenizer_spec: str,
    out: str,
    dictionary: Optional[str] = None,
    max_tokens: int = 128,
    skip_bad_lines: bool = False,
    unlabelled: bool = False,
) -> str:
    """Write the data folder ``out``, all or nothing; return the flags that it asks for.

    With ``unlabelled`` an empty label field of train.tsv is an example without a gold label.

    Raises:
        ValueError: for bad arguments or input; nothing is written then.
    """
    if task_name not in TASKS:
        raise ValueError(f"--task {task_name!r}; allowed: {', '.join(TASKS)}")
    if os.path.exists(out) and os.listdir(out):
        raise ValueError(f"--out {out} is not empty")
    task, tokenizer = TASKS[task_name], build_tokenizer(tokenizer_spec)
    dictionary = dictionary or tokenizer.dictionary
    if not os.path.exists(dictionary):
        raise ValueError(f"no dictionary {dictionary}: name the model's dict.txt with --dict")

    splits = {"train": "train.tsv", **dict(zip(("valid", "valid1"), task.valid))}
    flags = train_flags(task, tokenizer, unlabelled)
    digests = {}
    out = os.path.abspath(out)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out), prefix=".encode-") as work:
        for split, name in splits.items():
            without = unlabelled and split == "train"
            path = os.path.join(glue, name)
            examples, bad = read_examples(path, task, skip_bad_lines, without)
            digests[split] = digest_of_texts(example.texts for example in examples)
            cut = write_split(examples, tokenizer, max_tokens, work, split)
            count = sum(e.label in (NO_CLASS, NO_SCORE) for e in examples)
            print(
                f"{task_name} {split}: {len(examples)} examples, "
                f"{f'{count} of them without a label, ' if without else ''}"
                f"{cut} of them cut to {max_tokens} tokens; {bad} lines left out",
                flush=True,
            )
        data = os.path.join(work, "data")
        for i in range(len(task.texts)):
            preprocess(work, f"input{i}", list(splits), dictionary, data)
        write_labels(work, task, list(splits), data)
        write_digests(data, digests)
        with open(os.path.join(data, "train_flags.txt"), "w") as f:
            f.write(flags + "\n")
        if os.path.isdir(out):
            os.rmdir(out)
        os.rename(data, out)
    return flags


def train_flags(task: GlueTask, tokenizer: Tokenizer, unlabelled: bool = False) -> str:
    """What `fairseq-train` must be told about the data."""
    classes = 1 if task.labels is None else len(task.labels)
    flags = f"--num-classes {classes} --init-token 0"  # <s>
    if len(task.texts) == 2 and tokenizer.separators:
        flags += " --separator-token 2"  # </s>
    if unlabelled:
        flags += " --unlabelled-examples allow"
    return f"{flags} {task.flags}".strip()


def write_split(
    examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int, work: str, split: str
) -> int:
    """Write work/SPLIT.input0 ... and work/SPLIT.label; return how many examples were cut."""
    inputs = len(examples[0].texts)
    # <s>, one </s> a text, and what the pair layout puts between them
    limit = max_tokens - 1 - inputs - (inputs - 1) * tokenizer.separators
    if limit < inputs:
        raise ValueError(f"--max-tokens {max_tokens} leaves no room for text")
    cut = 0
    with ExitStack() as stack:
        files = [
            stack.enter_context(open(os.path.join(work, f"{split}.{name}"), "w", encoding="utf-8"))
            for name in [*(f"input{i}" for i in range(inputs)), "label"]
        ]
        for example in examples:
            pieces = [tokenizer.encode(text) for text in example.texts]
            kept = truncate(pieces, limit)
            cut += kept != pieces
            for file, line in zip(files, [*map(" ".join, kept), example.label]):
                file.write(line + "\n")
    return cut


def truncate(pieces: List[List[str]], limit: int) -> List[List[str]]:
    """Shorten the longest text, piece by piece from its end, until all have at most ``limit``."""
    pieces = [list(p) for p in pieces]
    while sum(map(len, pieces)) > limit:
        max(pieces, key=len).pop()
    return pieces


def write_labels(work: str, task: GlueTask, splits: List[str], data: str) -> None:
    """data/label: classes numbered in the task's order, or the scores as text."""
    if task.labels is None:
        os.makedirs(os.path.join(data, "label"))
        for split in splits:
            shutil.move(os.path.join(work, f"{split}.label"), os.path.join(data, "label"))
        return
    dictionary = os.path.join(work, "labels.txt")
    with open(dictionary, "w", encoding="utf-8") as f:
        f.writelines(f"{label} 1\n" for label in task.labels)
    preprocess(work, "label", splits, dictionary, data)


def preprocess(work: str, name: str, splits: List[str], dictionary: str, data: str) -> None:
    """Run `fairseq-preprocess` on work/SPLIT.NAME of all splits, into data/NAME."""
    files: Dict[str, str] = {s: os.path.join(work, f"{s}.{name}") for s in splits}
    train = files.pop("train")
    arguments = ["--only-source", "--workers", "1", "--srcdict", dictionary]
    arguments += ["--trainpref", train, "--validpref", ",".join(files.values())]
    arguments += ["--destdir", os.path.join(data, name)]
    print("+ fairseq-preprocess " + " ".join(map(shlex.quote, arguments)), flush=True)
    # in this process: its start takes longer than its work
    logger = fairseq_preprocess.logger
    handlers, level = list(logger.handlers), logger.level
    logger.setLevel(logging.WARNING)
    try:
        fairseq_preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    finally:
        logger.setLevel(level)
        for handler in set(logger.handlers) - set(handlers):  # fairseq leaves its log file open
            logger.removeHandler(handler)
            handler.close()


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.encode", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--glue", required=True, metavar="DIR", help="folder with the task's train.tsv and dev.tsv")
    add("--task", required=True, metavar="NAME", help=", ".join(TASKS))
    add("--tokenizer", required=True, metavar="KIND:PATH", help="; ".join(TOKENIZERS.values()))
    add("--dict", metavar="FILE", help="the model's dict.txt (default: beside the tokenizer)")
    add("--out", required=True, metavar="DIR", help="data folder to write, empty or not there")
    add("--max-tokens", type=int, default=128, help="longest example, with <s> and </s>")
    add("--skip-bad-lines", action="store_true", help="leave out lines with missing fields")
    add(
        "--unlabelled",
        action="store_true",
        help="an empty label in train.tsv is an example without a gold label, not an error",
    )
    args = parser.parse_args(argv)
    try:
        flags = encode(
            args.glue,
            args.task,
            args.tokenizer,
            args.out,
            args.dict,
            args.max_tokens,
            args.skip_bad_lines,
            args.unlabelled,
        )
    except ValueError as error:
        sys.exit(f"encode: {error}")
    print(f"{args.out}: {flags}")


if __name__ == "__main__":
    main()
