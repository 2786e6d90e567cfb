"""More training examples by back-translation: text -> another language -> text.

    python back_translate.py --glue DIR --task RTE --out NEW_DIR --labels none \
        --forward "EN_DE_DIR --path EN_DE_DIR/model.pt --source-lang en --target-lang de ..." \
        --backward "DE_EN_DIR --path DE_EN_DIR/model.pt --source-lang de --target-lang en ..."

DIR is a GLUE task in its own columns. The two texts in quotation marks are arguments of
`fairseq-interactive`, whatever the models need. NEW_DIR gets a train.tsv of the originals and then
their copies, and the dev files as they were.
"""

import argparse
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Dict, List, Optional, Sequence

if __name__ == "__main__":  # libraries warn while they are imported
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")

import numpy as np
from translation import Translation

from mixkd_plugin.data.mixup_plan import stratified_subset
from mixkd_plugin.tools.output import work_folder
from mixkd_plugin.tools.texts.examples import read_examples
from mixkd_plugin.tools.texts.glue import TASKS, GlueTask
from mixkd_plugin.tools.texts.reading import Table, read_table

LABELS = ("gold", "none")


def back_translate(
    glue: str,
    task_name: str,
    out: str,
    forward: str,
    backward: str,
    labels: str = "gold",
    fraction: float = 1.0,
    fraction_seed: int = 1,
    work: Optional[str] = None,
    skip_bad_lines: bool = False,
) -> None:
    """Write the folder ``out``, all or nothing; translations stay in ``work`` for another run.

    Args:
        forward, backward: arguments of fairseq-interactive
        labels: of the copies: gold, the original's; none, an empty field
        fraction, fraction_seed: use the originals that --train-fraction would choose, and no others

    Raises:
        ValueError: for bad arguments or input, or where a translation fails.
    """
    if task_name not in TASKS:
        raise ValueError(f"--task must be one of {', '.join(TASKS)}, got {task_name!r}")
    if labels not in LABELS:
        raise ValueError(f"--labels must be one of {', '.join(LABELS)}, got {labels!r}")
    if not 0 < fraction <= 1:
        raise ValueError(f"--fraction must be in (0, 1], got {fraction}")
    if os.path.exists(out) and os.listdir(out):
        raise ValueError(f"--out {out} is not empty")
    task = TASKS[task_name]
    table = read_table(os.path.join(glue, "train.tsv"), task.columns, skip_bad_lines=skip_bad_lines)
    for name in task.valid:
        if not os.path.isfile(os.path.join(glue, name)):
            raise ValueError(f"no file {os.path.join(glue, name)}")
    steps = [Translation("forward", forward), Translation("backward", backward)]

    originals = choose(table, task, fraction, fraction_seed)
    found = {text: text for fields in originals for text in texts_of(fields, table)}
    for step in steps:
        found = step.continued(found, Path(work or os.path.abspath(out) + ".work"))
    copies, counts = make_copies(originals, table, found, keep_label=labels == "gold")
    write_folder(out, glue, task, table, originals + copies)
    print(
        f"{out}: {len(originals)} of {len(table.lines)} originals and {len(copies)} copies with "
        f"{'their' if labels == 'gold' else 'no'} label; left out were {counts['same']} copies "
        f"equal to the original and {counts['empty']} with an empty text",
        flush=True,
    )


def choose(table: Table, task: GlueTask, fraction: float, seed: int) -> List[List[str]]:
    """The lines that ``--train-fraction`` would train on, in the file's order."""
    names, examples = task.targets.classes, read_examples(table, task.targets)
    classes = [0 if names is None else names.index(example.label) for example in examples]
    return [table.lines[i][1] for i in stratified_subset(np.array(classes), fraction, seed)]


def texts_of(fields: Sequence[str], table: Table) -> List[str]:
    """One or two texts, each on one line: any white space is one blank."""
    return [" ".join(fields[column].split()) for column in table.texts]


def make_copies(originals, table: Table, translations: Dict[str, str], keep_label: bool):
    """Lines with translated texts, in the originals' columns; how many were left out, and why."""
    copies, counts = [], {"same": 0, "empty": 0}
    for fields in originals:
        texts = texts_of(fields, table)
        translated = [translations[text] for text in texts]
        if not all(translated):
            counts["empty"] += 1
        elif translated == texts:
            counts["same"] += 1
        else:
            copy = list(fields)
            for column, text in zip(table.texts, translated):
                copy[column] = text
            if not keep_label:
                for column in table.labels:
                    copy[column] = ""
            copies.append(copy)
    return copies, counts


def write_folder(out: str, glue: str, task: GlueTask, table: Table, lines) -> None:
    """A GLUE folder with these training lines and the dev files of ``glue``."""
    out = os.path.realpath(out)
    with work_folder(os.path.dirname(out), ".merge-") as made:
        with open(os.path.join(made, "train.tsv"), "w", encoding="utf-8", newline="\n") as f:
            for fields in ([table.header] if table.header else []) + lines:
                f.write("\t".join(fields) + "\n")
        for name in task.valid:
            shutil.copy(os.path.join(glue, name), made)
        if os.path.isdir(out):
            os.rmdir(out)
        os.rename(made, out)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--glue", required=True, metavar="DIR", help="folder with the task's train.tsv and dev.tsv")
    add("--task", required=True, metavar="NAME", help=", ".join(TASKS))
    add("--out", required=True, metavar="DIR", help="GLUE folder to write, empty or not there")
    add("--forward", required=True, metavar="ARGUMENTS", help="of fairseq-interactive, in one word")
    add("--backward", required=True, metavar="ARGUMENTS", help="the same for the way back")
    add("--labels", default="gold", help="of the copies: gold (the original's) or none")
    add("--fraction", type=float, default=1.0, help="as --train-fraction: use these originals only")
    add("--fraction-seed", type=int, default=1, help="as --train-fraction-seed")
    add("--work", metavar="DIR", help="keeps finished translations (default: DIR of --out + .work)")
    add("--skip-bad-lines", action="store_true", help="leave out lines with missing fields")
    args = vars(parser.parse_args(argv))
    try:
        back_translate(task_name=args.pop("task"), **args)
    except (OSError, ValueError) as error:
        sys.exit(f"back_translate: {error}")


if __name__ == "__main__":
    main()
