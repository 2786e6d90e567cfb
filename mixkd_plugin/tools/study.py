"""Run a study: tasks x fractions x students x arms x data x variants x seeds, by `fairseq-train`.

    python -m mixkd_plugin.tools.study examples/glue/study.yaml glue.gold=GLUE out=OUT 'tasks=[RTE]'

The configuration is hydra's, with its overrides and defaults lists. Every finished run is one line
of OUT/results.jsonl, which `python -m mixkd_plugin.tools.report` turns into tables and figures. The
same command goes on where it was interrupted, and may be running on several machines that share
OUT: what is done is skipped, what another does is left to it. A run that fails is reported and
stops no other.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any, Dict, List, Sequence

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from . import study_plan
from .study_jobs import Jobs
from .study_processes import Device, JobFailed

NEEDED = ("glue", "out", "encoder", "tokenizer", "encode_flags", "devices", "jobs")
NEEDED += ("points", "gap", "keep", "settings", *study_plan.AXES)


def read_study(path: str, overrides: Sequence[str]) -> Dict[str, Any]:
    """The configuration at ``path``, composed by hydra.

    Raises:
        ValueError: where it is not there, does not compose, or lacks a value.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"no configuration {path}")
    try:
        with initialize_config_dir(config_dir=str(file.parent), version_base="1.1"):
            config = compose(file.stem, list(overrides))
        study = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    missing = [key for key in NEEDED if key not in study]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing (defaults: [study] has all)")
    if study["keep"] not in ("all", "first"):
        raise ValueError(f"keep: {study['keep']!r}; allowed: all, first")
    if int(study["points"]) < 1:
        raise ValueError(f"points: {study['points']}; allowed: 1 or more")
    for name, folder in study["glue"].items():
        if "{fraction}" not in folder and not os.path.isdir(folder):
            raise ValueError(f"glue.{name}: no folder {folder}")
    return study


def devices_of(study: Dict[str, Any]) -> List[Device]:
    """One device for each job that runs at the same time."""
    wanted, cores = study["devices"], len(os.sched_getaffinity(0))
    if wanted == "auto":
        wanted = list(range(torch.cuda.device_count())) or "cpu"
    if wanted == "cpu":
        jobs = study["jobs"] or max(1, cores // 4)
        return [Device(None, max(1, cores // jobs))] * jobs
    if not isinstance(wanted, list) or not all(isinstance(gpu, int) for gpu in wanted):
        raise ValueError(
            f"devices: {wanted!r}; allowed: auto, cpu or numbers of GPUs such as [0,1]"
        )
    threads = max(1, cores // (len(wanted) * (study["jobs"] or 1)))
    return [Device(gpu, threads) for gpu in wanted] * (study["jobs"] or 1)


def run_study(study: Dict[str, Any]) -> Counter:
    """Do what is not done; how many runs ended in which way."""
    runs, jobs, devices = study_plan.all_runs(study), Jobs(study), devices_of(study)
    free: Queue = Queue()
    for device in devices:
        free.put(device)
    began, ends = time.time(), Counter()

    def do(run) -> None:
        if jobs.commands.stopped:
            return
        device = free.get()
        try:
            end = jobs.student(run, device)
        finally:
            free.put(device)
        ends[end.partition(":")[0]] += 1
        if end != "already done":
            count, minutes = sum(ends.values()), (time.time() - began) / 60
            print(
                f"[{count}/{len(runs)}, {minutes:.0f} min] {run.folder}: {end}",
                flush=True,
            )

    print(f"{len(runs)} runs in {jobs.out}, {len(devices)} at a time", flush=True)
    with ThreadPoolExecutor(len(devices)) as workers:
        ordered = study_plan.teachers_first(study, runs)
        try:
            list(workers.map(do, ordered))
        except KeyboardInterrupt:
            jobs.commands.stop()
            raise
    jobs.speeds(runs)
    return ends


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.study", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("study", metavar="STUDY.yaml", help="as those in examples/glue")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="hydra's overrides")
    add("--list", action="store_true", help="name the runs, and do none")
    args = parser.parse_intermixed_args(argv)  # an override may follow --list
    try:
        study = read_study(args.study, args.overrides)
        if args.list:
            print("\n".join(run.folder for run in study_plan.all_runs(study)))
            return
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        ends = run_study(study)
    except KeyboardInterrupt:
        sys.exit("study: stopped; the same command goes on")
    except (ValueError, JobFailed) as error:
        sys.exit(f"study: {error}")
    print(", ".join(f"{count} {end}" for end, count in sorted(ends.items())) or "nothing to do")
    if ends["failed"]:
        sys.exit(1)


if __name__ == "__main__":
    logging.disable(logging.INFO)  # fairseq's and hydra's: the runs have logs of their own
    main()
