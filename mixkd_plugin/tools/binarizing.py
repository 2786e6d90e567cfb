"""Lines of symbols to fairseq's binary format, by `fairseq-preprocess` itself."""

import logging
import os
import shlex
import shutil
from typing import Dict, List

from fairseq import options
from fairseq.data import Dictionary
from fairseq_cli import preprocess as fairseq_preprocess

from .examples import Targets


def check_dictionary(path: str) -> str:
    """The path, if fairseq can read it.

    Raises:
        ValueError: if not.
    """
    if not os.path.exists(path):
        raise ValueError(f"no dictionary {path}: name the model's dict.txt with --dict")
    try:
        Dictionary.load(path)
    except Exception as error:  # fairseq raises this very kind, among others
        raise ValueError(f"--dict {path}: {error}") from error
    return path


def write_labels(work: str, targets: Targets, splits: List[str], data: str, workers: int) -> None:
    """data/label: classes numbered in their order, or numbers as text."""
    if targets.classes is None:
        os.makedirs(os.path.join(data, "label"))
        for split in splits:
            shutil.move(os.path.join(work, f"{split}.label"), os.path.join(data, "label"))
        return
    dictionary = os.path.join(work, "labels.txt")
    with open(dictionary, "w", encoding="utf-8") as f:
        f.writelines(f"{name} 1\n" for name in targets.classes)
    preprocess(work, "label", splits, dictionary, data, workers)


def preprocess(
    work: str, name: str, splits: List[str], dictionary: str, data: str, workers: int
) -> None:
    """Run `fairseq-preprocess` on work/SPLIT.NAME of all splits, into data/NAME."""
    files: Dict[str, str] = {s: os.path.join(work, f"{s}.{name}") for s in splits}
    train = files.pop("train")
    arguments = ["--only-source", "--workers", str(workers), "--srcdict", dictionary]
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
