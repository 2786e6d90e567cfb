"""Turn the results of a study into tables and figures.

    python -m mixkd_plugin.tools.report OUT/results.jsonl --out DIR --baselines FT,KD

DIR gets report.md, also printed, and figures as PNG files. Several files are read as one, in order:
a later line of a run replaces an earlier one. A run that failed counts as missing, and is listed.
"""

import argparse
import os
from typing import Dict, List, Optional, Sequence, Set

from ..cli import run_cli
from ..output import check_folder
from . import ablation_figures, costs, figure_style, figures, gap_figures, sections
from .results import Result, Results, read_results, unlike
from .tables import ablations, groups

BASELINES = ("FT", "KD")


def choose_baselines(results: Results, wanted: Optional[str]) -> List[str]:
    """The arms to compare with: those asked for, or those of BASELINES that there are.

    Raises:
        ValueError: where one that is asked for is not there.
    """
    arms = list(dict.fromkeys(result.run.arm for result in results.done))
    if wanted is None:
        return [arm for arm in BASELINES if arm in arms]
    baselines = wanted.split(",")
    for baseline in baselines:
        if baseline not in arms:
            raise ValueError(f"--baselines {baseline!r}; allowed: {', '.join(arms) or 'none'}")
    return baselines


def write_report(results: Results, out: str, baselines: Sequence[str]) -> str:
    """The report's text; figures go to the folder ``out``."""
    blocks = ["# Report\n", overview(results)]
    found = groups(results.done)
    for group in found:
        stem = "" if len(found) == 1 else f"-{group.student}"
        blocks += [f"## Student {group.student}\n", sections.quality(group)]
        blocks += [figures.learning_curves(group, out, stem), figures.fractions(group, out, stem)]
        blocks += [sections.differences(group, baseline) for baseline in baselines]
        if baselines:
            blocks.append(figures.differences(group, baselines[-1], out, stem))
        blocks += [sections.retained(group), costs.costs(group, results)]
        blocks += [sections.gaps(group), gap_figures.gaps(group, out, stem)]
        blocks.append(gap_figures.by_fraction(group, out, stem))
    changed = ablations(results.done)
    if changed:
        blocks.append("## Ablations\n")
    for student, keys in changed.items():
        stem = "" if len(changed) == 1 else f"-{student}"
        for key in keys:
            blocks.append(sections.ablation(results.done, student, key, *baselines[-1:]))
            blocks.append(ablation_figures.ablation(results.done, student, key, out, stem))
    students = list(dict.fromkeys(result.run.student for result in results.done))
    for student in students:
        stem = "" if len(students) == 1 else f"-{student}"
        blocks.append(gap_figures.mixes(results.done, student, out, stem))
    blocks.append(costs.failures(results.failed))
    return "\n".join(block for block in blocks if block)


def overview(results: Results) -> str:
    seeds = sorted({result.run.seed for result in results.done})
    lines = [
        f"{len(results.done)} finished runs of students, seeds {', '.join(map(str, seeds))}; "
        f"{len(results.failed)} failed.\n"
    ]
    for folder, flags in unlike(results.done).items():
        lines.append(f"**Seeds of {folder} have other settings ({', '.join(flags)}).**\n")
    for folder, count in versions_of_data(results.done).items():
        lines.append(f"**{folder} had {count} different contents in these runs.**\n")
    return "\n".join(lines)


def versions_of_data(results: Sequence[Result]) -> Dict[str, int]:
    """Data folders, by their names in commands, whose content was not the same in all runs."""
    found: Dict[str, Set[str]] = {}
    for _, record in results:
        command, digest = (record.get("command") or "").split(), record.get("data_digest")
        if digest and len(command) > 1:
            found.setdefault(command[1], set()).add(digest)
    return {folder: len(digests) for folder, digests in found.items() if len(digests) > 1}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.report", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("results", nargs="+", metavar="RESULTS", help="results.jsonl of a study")
    add("--out", required=True, metavar="DIR", help="for report.md and the figures")
    add(
        "--baselines",
        metavar="ARM,ARM",
        help="arms to compare with, the last one in the figure too (default: FT,KD)",
    )
    return parser


def work(args: argparse.Namespace) -> None:
    check_folder(args.out)
    figure_style.pyplot()
    results = read_results(args.results)
    baselines = choose_baselines(results, args.baselines)
    os.makedirs(args.out, exist_ok=True)
    text = write_report(results, args.out, baselines)
    print(text)
    with open(os.path.join(args.out, "report.md"), "w", encoding="utf-8") as file:
        file.write(text)


def main(argv=None):
    run_cli("report", build_parser, work, argv)
