"""The work of `report`: a study's results become tables and figures.

A later line of a run replaces an earlier one. A run that failed counts as missing, and is listed.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..results import RECIPE, Result, Results, Run
from . import figures, sections
from .tables import long_table

Record = Mapping[str, Any]
BASELINES = ("FT", "KD")
SEED = re.compile(r" --(seed|train-fraction-seed) \d+|seed\d+")  # in a command
OWN = re.compile("save-dir |cpu$")
# The flags in which arms, and the data that they read, may differ.
BY_DESIGN = re.compile(
    "--(.+-weight|(mixup|distill)-.+|batch-size|task|criterion|train-fraction|unlabelled-examples) "
)


def choose_baselines(results: Results, wanted: str | None) -> list[str]:
    """The arms to compare with: those of --baselines, or those of BASELINES with results.

    Raises:
        ValueError: for an arm without results.
    """
    arms = list(dict.fromkeys(result.run.arm for result in results.done))
    if wanted is None:
        return [arm for arm in BASELINES if arm in arms]
    for baseline in wanted.split(","):
        if baseline not in arms:
            raise ValueError(f"--baselines must be of {', '.join(arms) or 'none'}, got {baseline}")
    return wanted.split(",")


def write_report(results: Results, out: str, baselines: Sequence[str]) -> str:
    """The report's text; figures go to the folder ``out``."""
    table = long_table(results.done)
    blocks = ["# Report\n", overview(results)]
    students = list(dict.fromkeys(result.run.student for result in results.done))
    for student in students if len(table) else ():
        stem = "" if len(students) == 1 else f"-{student}"
        of_student = table[table["student"] == student]
        recipe = of_student[of_student["variant"] == RECIPE]
        if len(recipe):
            runs = [result for result in results.done if result.run.student == student]
            runs = [result for result in runs if result.run.variant == RECIPE]
            blocks += [f"## Student {student}\n", sections.quality(recipe)]
            blocks.append(sections.f1(recipe))
            blocks += [figures.learning_curves(recipe, out, stem)]
            blocks += [figures.fractions(recipe, out, stem)]
            blocks += [sections.differences(recipe, baseline) for baseline in baselines]
            if baselines:
                blocks.append(figures.differences(recipe, baselines[-1], out, stem))
            blocks += [sections.retained(recipe), sections.costs(student, runs, results)]
            blocks += [sections.gaps(recipe), figures.gaps(recipe, out, stem)]
            blocks.append(figures.gaps_by_fraction(recipe, out, stem))
        settings = [setting for setting in dict.fromkeys(of_student["setting"]) if setting]
        blocks += ["## Ablations\n"] if settings else []
        for setting in settings:
            changed = of_student[of_student["setting"] == setting]
            blocks.append(sections.ablation(changed, recipe, *baselines[-1:]))
            blocks.append(figures.ablation(changed, recipe, out, stem))
        blocks.append(figures.gaps_by_mixes(of_student, out, stem))
    blocks.append(sections.failures(results.failed))
    return "\n".join(block for block in blocks if block)


def overview(results: Results) -> str:
    seeds = sorted({result.run.seed for result in results.done})
    lines = [
        f"{len(results.done)} finished runs of students, seeds {', '.join(map(str, seeds))}; "
        f"{len(results.failed)} failed.\n"
    ]
    for (path, later), count in results.replaced.items():
        lines.append(f"**Runs of {path} that {later} replaces by others: {count}.**\n")
    for folder, flags in differing_flags(results.done).items():
        lines.append(f"**Seeds of {folder} have other settings ({', '.join(flags)}).**\n")
    for what, places in differing_arms(results.done).items():
        lines.append(f"**Arms of {', '.join(places)} have other {what}.**\n")
    for folder, count in versions_of_data(results.done).items():
        lines.append(f"**{folder} had {count} different contents in these runs.**\n")
    return "\n".join(lines)


def differing_flags(results: Sequence[Result]) -> dict[str, list[str]]:
    """Folders of runs whose commands differ by more than the seed, and the flags that differ.

    This happens when a study was changed, and only some of its seeds were run again.
    """
    records: dict[str, list[Record]] = {}
    for run, record in results:
        records.setdefault(run.folder.rpartition("/")[0], []).append(record)
    found = {folder: _not_shared(its) for folder, its in records.items()}
    return {folder: flags for folder, flags in found.items() if flags}


def differing_arms(results: Sequence[Result]) -> dict[str, list[str]]:
    """What arms of the same seed should share and do not, and where.

    This happens when a study was changed, and only some of its arms were run again.
    """
    records: dict[Run, list[Record]] = {}
    for run, record in results:
        records.setdefault(run._replace(arm="", data=""), []).append(record)
    found: dict[str, list[str]] = {}
    for run, its in records.items():
        where = f"{run.task}/{run.fraction:g}/{run.student}/{run.variant}"
        flags = [flag for flag in _not_shared(its) if not BY_DESIGN.match(flag)]
        whats = [f"settings ({', '.join(flags)})"] if flags else []
        for what in whats + ["teachers"] * (len(_teachers(its)) > 1):
            places = found.setdefault(what, [])
            places += [where] if where not in places else []
    return found


def _not_shared(records: Sequence[Record]) -> list[str]:
    """The flags that some commands have and others lack, other than seeds, folder and device."""
    commands = []
    for record in records:
        words = SEED.sub("", record.get("command") or "").split(" --")[1:]
        commands.append({f"--{word}".strip() for word in words if not OWN.match(word)})
    return sorted(set.union(*commands) - set.intersection(*commands))


def _teachers(records: Sequence[Record]) -> set[str]:
    """By their files, or by their scores where a run of an earlier version names no file."""
    files = {"".join(record.get("files", [])[:1]) for record in records}
    taught = [record["teacher"] for record in records if "teacher" in record]
    return {repr(one["metrics"]) for one in taught} if "" in files else files


def versions_of_data(results: Sequence[Result]) -> Mapping[str, int]:
    """Data folders, by their names in commands, whose content differs between runs."""
    found: dict[str, set[str]] = {}
    for _, record in results:
        command, digest = (record.get("command") or "").split(), record.get("data_digest")
        if digest and len(command) > 1:
            found.setdefault(command[1], set()).add(digest)
    return {folder: len(digests) for folder, digests in found.items() if len(digests) > 1}
