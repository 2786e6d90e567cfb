"""The work of `encode`: labelled text becomes a data folder, as `fairseq-preprocess` makes one.

A label has the same index in every data folder of a task: the order of glue.py or --labels, else
sorted, never by frequency; 0/1 labels are their own index. An empty text is </s> alone.
"""

import math
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ... import fingerprints
from ...fingerprints import digest_of_texts, write_digests
from ...tokenizers.dictionary import write_dictionary
from ...tokenizers.library import MASK
from ...tokenizers.specs import parse_spec
from ...tokenizers.subwords import Tokenizer, build_tokenizer
from ...tokenizers.trim import different_texts, trim_vocabulary, write_trimmed
from .. import remembered
from ..cli import named
from ..output import check_folder, work_folder
from ..remembered import write_encoding
from ..texts.doubts import doubtful_classes, doubtful_words
from ..texts.examples import Example, Targets, find_classes, read_examples, spelling_of
from ..texts.reading import read_table
from .binarizing import Counts, read_dictionary, room, write_labels, write_texts
from .command import MAX_UNKNOWN
from .sources import Source

TRIMMED = "tokenizer"  # folder in the data folder, with --trim-vocabulary
WRITTEN = ("train_flags.txt", fingerprints.FILE, remembered.FILE)
WRITTEN += tuple(  # the log is of earlier versions
    f"{folder}/{name}"
    for folder in ("input[01]", "label", TRIMMED)
    for name in ("dict.txt", "*.bin", "*.idx", "*.label", "*.json", "preprocess.log")
)
MAX_LOST = 0.5  # share of examples with only <unk>


def encode(
    source: Source,
    tokenizer_spec: str,
    out: str,
    dictionary: Optional[str] = None,
    max_tokens: int = 128,
    skip_bad_lines: bool = False,
    unlabelled: bool = False,
    workers: Optional[int] = None,
    max_unknown: float = MAX_UNKNOWN,
    trim: bool = False,
    force: bool = False,
) -> str:
    """Write the data folder ``out`` atomically; return its flags of `fairseq-train`.

    Args:
        unlabelled: a missing label of the training file is an example without a label
        workers: threads of the tokenizer; ``out`` is the same for any number
        max_unknown: the largest share of <unk> among the subwords of a column of a split
        trim: use only the pieces of the training texts; ``out``/tokenizer has this tokenizer
        force: replace an earlier data folder

    Raises:
        ValueError: for bad arguments or input.
        OSError: for a disk that is full or cannot be read. In both cases nothing is written.
    """
    check_data_out(out, force)
    if Path(parse_spec(tokenizer_spec)[1]).resolve().is_relative_to(Path(out).resolve()):
        raise ValueError(
            f"--tokenizer must be outside of --out, which is replaced, got {tokenizer_spec}: "
            "name another --out"
        )
    if workers is not None:
        if workers < 1:
            raise ValueError(f"--workers must be >= 1, got {workers}")
        os.environ["RAYON_NUM_THREADS"] = str(workers)  # read by `tokenizers` at its first use
    if not 0 <= max_unknown <= 1:
        raise ValueError(f"--max-unknown must be in [0, 1], got {max_unknown}")
    tokenizer = build_tokenizer(tokenizer_spec)
    limit = room(tokenizer, len(source.columns.texts), max_tokens)
    made = tokenizer.words if dictionary is None else None
    dictionary = dictionary or tokenizer.dictionary
    symbols = read_dictionary(dictionary) if made is None else made
    full = tokenizer
    lacking = sorted({*tokenizer.symbols.values()} - {*symbols.indices, MASK})
    if lacking:
        print(
            f"WARNING: {dictionary} lacks {len(lacking)} of the tokenizer's "
            f"{len(tokenizer.symbols)} symbols, such as {lacking[-1]!r}: they become <unk>"
        )
    targets, examples, bad = read_splits(source, skip_bad_lines, unlabelled)
    flags = train_flags(source, targets, tokenizer, unlabelled)
    if trim:
        texts = [text for example in examples["train"] for text in example.texts]
        tokenizer, made = trim_vocabulary(tokenizer, symbols, texts)
        print(f"vocabulary: {len(made)} of {len(symbols)} symbols")
        symbols = made

    out = os.path.realpath(out)
    with work_folder(os.path.dirname(out), ".encode-") as data:
        for i in range(len(source.columns.texts)):
            os.makedirs(os.path.join(data, f"input{i}"))
            path = os.path.join(data, f"input{i}", "dict.txt")
            if made is not None:
                write_dictionary(made, path)
            else:  # a copy: what fairseq saves lacks flags such as #fairseq:overwrite
                shutil.copyfile(dictionary, path)
        if trim:
            write_trimmed(tokenizer, made, os.path.join(data, TRIMMED), max_tokens)
        symbols.add_symbol(MASK)  # as fairseq's task does when it reads the data
        for split, of_split in examples.items():
            title = source.title(split)
            counts = write_texts(of_split, tokenizer, symbols, limit, data, split, title)
            write_labels(of_split, targets, data, split)
            no_label = targets.no_label(len(source.columns.labels))
            without = sum(example.label == no_label for example in of_split)
            no_class = sum({*example.label} == {"0", " "} for example in of_split)
            print(
                f"{title}: {len(of_split)} examples, "
                f"{f'{without} of them without a label, ' if without else ''}"
                f"{f'{no_class} of them with no class, ' if targets.multi_label else ''}"
                f"{f'{counts.empty} of them with an empty text, ' if counts.empty else ''}"
                f"{counts.cut} of them cut to {max_tokens} tokens; {bad[split]} lines left out; "
                f"{shares(counts, source)}",
                flush=True,
            )
            if counts.subwords == 0:
                raise ValueError(f"--text must be a column with texts, got none in {title}")
            check_known(counts, len(of_split), title, max_unknown, dictionary, tokenizer_spec)
            if trim:
                texts = [text for example in of_split for text in example.texts]
                other = len(different_texts(full, tokenizer, texts))
                print(f"{title}: {other} of {len(texts)} texts have other pieces than in full")
        digests = {s: digest_of_texts(e.texts for e in examples[s]) for s in examples}
        write_digests(data, digests)
        spec = f"hf:{os.path.join(out, TRIMMED)}" if trim else tokenizer_spec
        write_encoding(data, out, spec, max_tokens, targets.spelling)
        with open(os.path.join(data, "train_flags.txt"), "w") as f:
            f.write(flags + "\n")
        check_data_out(out, force)  # another process may have written it
        if os.path.isdir(out):
            (shutil.rmtree if force else os.rmdir)(out)
        os.rename(data, out)
    return flags


def check_data_out(out: str, force: bool = False) -> None:
    """Raise ValueError if the data folder cannot be written, or not be read by fairseq."""
    if not out or "\0" in out:
        raise ValueError(f"--out must be a folder, got {out!r}")
    replaced = force and os.path.isfile(os.path.join(out, "train_flags.txt"))
    if os.path.isdir(out) and os.listdir(out) and not replaced:
        raise ValueError(f"--out must be new or empty, or with --force a data folder, got {out}")
    files = Path(out).rglob("*") if replaced else ()
    names = (path.relative_to(out).as_posix() for path in files if not path.is_dir())
    for name in sorted(names):
        hidden = "/." in f"/{name}"
        if not hidden and not any(fnmatch(name, known) for known in WRITTEN):
            raise ValueError(
                f"--out must have no files but those of a data folder, got {out} with {name}: "
                "--force replaces the folder; move the file, or name another --out"
            )
    check_folder(out)
    check_folder(os.path.dirname(os.path.realpath(out)))  # where it is made, and moved from
    if os.path.ismount(out):  # as a volume of Docker is
        raise ValueError(f"--out must not be a mount point, got {out}: name a folder in it")
    if os.pathsep in out:
        better = out.replace(os.pathsep, "-")
        raise ValueError(
            f"--out must not have {os.pathsep!r} in its name, got {out}: fairseq-train splits it "
            f"there; choose another one, such as {better}"
        )


def shares(counts: Counts, source: Source) -> str:
    """The shares of unknown subwords, to be printed."""
    columns = zip(source.columns.texts, counts.unknown)
    text = ", ".join(f"{share:.2%} of {name}" for name, share in columns)
    lost = f"; {counts.lost} examples have only <unk>" if counts.lost else ""
    return f"<unk> is {text}{lost}"


def check_known(
    counts: Counts, examples: int, title: str, bound: float, dictionary: str, tokenizer: str
) -> None:
    """Raise ValueError if the dictionary lacks too many subwords of a split."""
    share, lost = max(counts.unknown), counts.lost / examples
    if share > bound or lost > max(bound, MAX_LOST):
        enough = math.ceil(100 * max(share, lost if lost > MAX_LOST else 0)) / 100
        raise ValueError(
            f"{title}: {share:.0%} of the subwords of a column are <unk>, and {lost:.0%} of the "
            f"examples nothing else: does {dictionary} belong to the tokenizer {tokenizer}, and "
            f"does it know the script of the texts? If so, --max-unknown {enough:g} in place of "
            f"--max-unknown {bound:g} allows it"
        )


def read_splits(
    source: Source, skip_bad_lines: bool, unlabelled: bool
) -> Tuple[Targets, Dict[str, List[Example]], Dict[str, int]]:
    """The classes or targets; each split's examples, and how many of its lines were left out.

    Prints the classes, and warnings about words that may stand for missing values.

    Raises:
        ValueError: for bad input.
    """
    targets, examples, bad = source.targets, {}, {}
    for split, path in source.files.items():
        with named(source.flag(split), path):
            table = read_table(path, source.columns, source.kind, skip_bad_lines)
            if targets is None:
                separator = source.columns.separator
                classes = find_classes(table, separator)
                targets = Targets(classes, multi_label=separator is not None, separator=separator)
            if split == "train" and targets.classes is not None:
                spelling = spelling_of(targets.classes, source.named, table, source.columns)
                targets = targets._replace(spelling=spelling)
            may_lack = unlabelled and split == "train"
            examples[split] = read_examples(table, targets, may_lack, skip_bad_lines)
        bad[split] = table.bad + len(table.lines) - len(examples[split])
        for doubt in doubtful_words(table, targets):
            print(f"WARNING: {split}: {doubt}")
    if targets.classes is not None:
        if source.targets is None:
            for doubt in doubtful_classes(targets.classes, len(examples["train"])):
                print(f"WARNING: {doubt}")
        shown = ", ".join(f"{i} = {name}" for i, name in enumerate(targets.classes))
        print(f"classes{' (blanks become _)' if '_' in shown else ''}: {shown}")
    return targets, examples, bad


def train_flags(
    source: Source, targets: Targets, tokenizer: Tokenizer, unlabelled: bool = False
) -> str:
    """The flags of `fairseq-train` that depend on the data."""
    regression = targets.classes is None
    outputs = len(source.columns.labels if regression else targets.classes)
    flags = f"--num-classes {outputs} --init-token 0"  # <s>
    if len(source.columns.texts) == 2 and tokenizer.separators:
        flags += " --separator-token 2"  # </s>
    if unlabelled:
        flags += " --unlabelled-examples allow"
    if regression:
        flags += " --regression-target"
    if targets.multi_label:
        flags += " --multi-label"
    return f"{flags} {source.flags}".strip()
