"""Turn labelled text into a data folder for sentence prediction, through `fairseq-preprocess`.

    python -m mixkd_plugin.tools.encode --glue DIR --task SST-2 \
        --tokenizer wordpiece:MODEL_DIR --out DATA_DIR
    python -m mixkd_plugin.tools.encode --train train.csv --valid dev.csv --text question,answer \
        --label relevant --tokenizer gpt2:MODEL_DIR --out DATA_DIR

The first reads GLUE's own files: train.tsv and dev.tsv (MNLI: dev_matched.tsv, dev_mismatched.tsv).
The second reads any files of single texts or pairs: tab-separated (.tsv, where a quotation mark is
a character like any other), CSV (.csv) or JSON lines (.jsonl), in UTF-8. DATA_DIR gets `input0
[input1] label` with the splits train and valid (and valid1, ...), and `train_flags.txt`, the flags
that the data asks for: `fairseq-train DATA_DIR $(cat DATA_DIR/train_flags.txt) ...` is right.
`texts.json` holds a digest of each split's texts: by it `--teacher-data` knows the same texts in
another vocabulary.

Labels are numbered in the order of glue.py or --labels, by default in their own, never by
frequency: a label has the same index in every data folder of the task, and 0/1 labels are their own
index. Pairs are laid out as the tokenizer's family does: <s> A </s> B </s> for wordpiece, as BERT,
<s> A </s> </s> B </s> for the others, as RoBERTa. An empty text is no error: it is </s> alone.
"""

import argparse
import os
import tempfile
from typing import Dict, List, Optional, Tuple

from ..texts import digest_of_texts, write_digests
from .binarizing import check_dictionary, preprocess, write_labels
from .cli import run_cli
from .examples import Example, Targets, find_classes, read_examples
from .glue import TASKS
from .reading import ALLOWED, read_table
from .sources import Source, file_source, glue_source
from .subwords import TOKENIZERS, Tokenizer, build_tokenizer
from .tokenizing import CHUNK, room, tokenize


def encode(
    source: Source,
    tokenizer_spec: str,
    out: str,
    dictionary: Optional[str] = None,
    max_tokens: int = 128,
    skip_bad_lines: bool = False,
    unlabelled: bool = False,
    workers: int = 1,
) -> str:
    """Write the data folder ``out``, all or nothing; return the flags that it asks for.

    With ``unlabelled`` an empty label of the training file is an example without a gold label.
    ``out`` is the same for any number of ``workers``.

    Raises:
        ValueError: for bad arguments or input.
        OSError: for a disk that is full or cannot be read. Nothing is written in both cases.
    """
    if os.path.exists(out) and not (os.path.isdir(out) and not os.listdir(out)):
        raise ValueError(f"--out {out} is not empty")
    if workers < 1:
        raise ValueError(f"--workers {workers}; allowed: 1 and more")
    tokenizer = build_tokenizer(tokenizer_spec)
    room(tokenizer, len(source.columns.texts), max_tokens)
    dictionary = check_dictionary(dictionary or tokenizer.dictionary)

    targets, examples, bad = read_splits(source, skip_bad_lines, unlabelled)
    if targets.classes is not None:
        shown = ", ".join(f"{i} = {name}" for i, name in enumerate(targets.classes))
        print(f"classes{' (a blank is written as _)' if '_' in shown else ''}: {shown}")

    flags = train_flags(source, targets, tokenizer, unlabelled)
    out = os.path.abspath(out)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out), prefix=".encode-") as work:
        for split in examples:
            prefix, texts = os.path.join(work, split), [e.texts for e in examples[split]]
            cut, empty = tokenize(texts, tokenizer_spec, max_tokens, workers, prefix)
            with open(f"{prefix}.label", "w", encoding="utf-8") as f:
                f.writelines(f"{e.label}\n" for e in examples[split])
            without = sum(not e.labelled for e in examples[split])
            print(
                f"{source.title(split)}: {len(examples[split])} examples, "
                f"{f'{without} of them without a label, ' if without else ''}"
                f"{f'{empty} of them with an empty text, ' if empty else ''}"
                f"{cut} of them cut to {max_tokens} tokens; {bad[split]} lines left out",
                flush=True,
            )
        data = os.path.join(work, "data")
        if max(map(len, examples.values())) <= CHUNK:
            workers = 1
        for i in range(len(source.columns.texts)):
            preprocess(work, f"input{i}", list(examples), dictionary, data, workers)
        write_labels(work, targets, list(examples), data, workers)
        digests = {s: digest_of_texts(e.texts for e in examples[s]) for s in examples}
        write_digests(data, digests)
        with open(os.path.join(data, "train_flags.txt"), "w") as f:
            f.write(flags + "\n")
        if os.path.isdir(out):
            os.rmdir(out)
        os.rename(data, out)
    return flags


def read_splits(
    source: Source, skip_bad_lines: bool, unlabelled: bool
) -> Tuple[Targets, Dict[str, List[Example]], Dict[str, int]]:
    """What labels may be; the examples of each split, and how many lines of it were left out.

    Raises:
        ValueError: for bad input.
    """
    targets, examples, bad = source.targets, {}, {}
    for split, path in source.files.items():
        table = read_table(path, source.columns, source.kind, skip_bad_lines)
        targets = targets or Targets(find_classes(table))
        examples[split] = read_examples(table, targets, unlabelled and split == "train")
        bad[split] = table.bad
    return targets, examples, bad


def train_flags(
    source: Source, targets: Targets, tokenizer: Tokenizer, unlabelled: bool = False
) -> str:
    """What `fairseq-train` must be told about the data."""
    regression = targets.classes is None
    outputs = len(source.columns.labels if regression else targets.classes)
    flags = f"--num-classes {outputs} --init-token 0"  # <s>
    if len(source.columns.texts) == 2 and tokenizer.separators:
        flags += " --separator-token 2"  # </s>
    if unlabelled:
        flags += " --unlabelled-examples allow"
    if regression:
        flags += " --regression-target"
    return f"{flags} {source.flags}".strip()


# what goes with each of the two flags that name a source: the needed ones, the others
SOURCES = {
    "glue": (("task",), ()),
    "train": (("valid", "text", "label"), ("format", "no_header", "regression")),
}


def source_of(args: argparse.Namespace) -> Source:
    """The source that the command line names.

    Raises:
        ValueError: unless that is one, with all that it needs and nothing of the other.
    """
    chosen = [name for name in SOURCES if vars(args)[name] is not None]
    if len(chosen) != 1:
        raise ValueError(
            f"{' and '.join(f'--{name}' for name in chosen) or 'no source'}: allowed is either "
            "--glue DIR --task NAME or --train FILE --valid FILE --text COLUMN --label COLUMN"
        )
    (chosen,) = chosen
    for name, (needed, others) in SOURCES.items():
        for flag in (*needed, *others):
            given = vars(args)[flag] not in (None, False)
            if name != chosen and given:
                raise ValueError(f"--{flag.replace('_', '-')} goes with --{name}, not --{chosen}")
            if name == chosen and flag in needed and not given:
                raise ValueError(f"--{chosen} needs --{flag}")
    if chosen == "glue":
        return glue_source(args.glue, args.task, args.labels)
    return file_source(
        args.train,
        args.valid,
        args.text,
        args.label,
        args.labels,
        args.regression,
        not args.no_header,
        args.format,
    )


def names(text: str) -> List[str]:
    return text.split(",")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.encode", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument_group("GLUE's files").add_argument
    add("--glue", metavar="DIR", help="folder with the task's train.tsv and dev.tsv")
    add("--task", metavar="NAME", help=", ".join(TASKS))
    add = parser.add_argument_group("or files of your own").add_argument
    add("--train", metavar="FILE", help=f"training examples; by suffix {ALLOWED}")
    add("--valid", type=names, metavar="FILE[,FILE...]", help="become valid, valid1, ...")
    add("--text", type=names, metavar="COLUMN[,COLUMN]", help="one; two for pairs")
    add("--label", type=names, metavar="COLUMN", help="with --regression, A,B: several targets")
    add("--regression", action="store_true", help="labels are numbers, written as they are")
    add("--format", metavar="NAME", help=f"{ALLOWED}, whatever the suffix")
    add("--no-header", action="store_true", help="columns are positions: 0, 1, ...")
    add = parser.add_argument_group("for both").add_argument
    add(
        "--labels", type=names, metavar="A,B,...", help="the classes, in the order of their indices"
    )
    add("--tokenizer", required=True, metavar="KIND:PATH", help="; ".join(TOKENIZERS.values()))
    add("--dict", metavar="FILE", help="the model's dict.txt (default: beside the tokenizer)")
    add("--out", required=True, metavar="DIR", help="data folder to write, empty or not there")
    add("--max-tokens", type=int, default=128, help="longest example, with <s> and </s>")
    add("--skip-bad-lines", action="store_true", help="leave out lines with missing fields")
    add(
        "--unlabelled",
        action="store_true",
        help="an empty label of training is an example without a gold label, not an error",
    )
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="processes (default: the CPUs that this one may use)",
    )
    return parser


def work(args: argparse.Namespace) -> None:
    flags = encode(
        source_of(args),
        args.tokenizer,
        args.out,
        args.dict,
        args.max_tokens,
        args.skip_bad_lines,
        args.unlabelled,
        args.workers,
    )
    print(f"{args.out}: {flags}")


def main(argv=None):
    run_cli("encode", build_parser, work, argv)


if __name__ == "__main__":
    main()
