"""Run a study: tasks x fractions x students x arms x data x variants x seeds, by `fairseq-train`.

    python -m mixkd_plugin.tools.study examples/glue/study.yaml glue.gold=GLUE out=OUT 'tasks=[RTE]'

The configuration is hydra's, with its overrides and defaults lists. Every finished run is one line
of OUT/results.jsonl, which `python -m mixkd_plugin.tools.report` turns into tables and figures. The
same command goes on where it was interrupted, and may be running on several machines that share
OUT: what is done is skipped, what another does is left to it. A run that fails is reported and
stops no other.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..cli import run_cli
from ..report.result_line import Run
from . import plan
from .flags import check_flags
from .jobs import Jobs
from .processes import POLL_SECONDS, Device, JobFailed, check_locks
from .speed import measure_speeds

NEEDED = ("glue", "out", "encoder", "encode_tokenizer", "encode_flags", "devices", "jobs")
NEEDED += ("points", "gap", "keep", "settings", *plan.AXES)


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
    if not isinstance(study["points"], int) or study["points"] < 1:
        raise ValueError(f"points: {study['points']!r}; allowed: 1 or more")
    user_dir = study.get("user_dir")
    if user_dir is not None and not os.path.isdir(user_dir):
        raise ValueError(f"user_dir: no folder {user_dir}")
    for name, folder in study["glue"].items():
        if "{fraction}" not in folder and not os.path.isdir(folder):
            raise ValueError(f"glue.{name}: no folder {folder}")
    return study


def devices_of(study: Dict[str, Any]) -> List[Device]:
    """One device for each job that runs at the same time."""
    wanted, jobs, cores = study["devices"], study["jobs"], os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    if jobs is not None and (not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs: {jobs!r}; allowed: null, 1 or more")
    there = list(range(torch.cuda.device_count()))
    if wanted == "auto":
        wanted = there or "cpu"
    if wanted == "cpu":
        jobs = jobs or max(1, cores // 4)
        return [Device(None, max(1, cores // jobs))] * jobs
    if not isinstance(wanted, list) or not wanted or not set(wanted) <= set(there):
        gpus = f"numbers of GPUs in brackets, of {there}" if there else "no GPU is here"
        raise ValueError(f"devices: {wanted!r}; allowed: auto, cpu; {gpus}")
    threads = max(1, cores // (len(wanted) * (jobs or 1)))
    return [Device(gpu, threads) for gpu in wanted] * (jobs or 1)


def run_study(study: Dict[str, Any]) -> Counter:
    """Do what is not done; how many runs ended in which way."""
    runs, devices = plan.all_runs(study), devices_of(study)
    for teacher in {plan.settings_of(study, run).get("teacher") for run in runs} - {None}:
        if not os.path.isfile(teacher):
            raise ValueError(f"teacher: no file {teacher}")
    check_flags(study, runs)
    jobs = Jobs(study)
    waiting, taking = plan.teachers_first(study, runs), threading.Lock()
    began, ends = time.time(), Counter()

    def next_run() -> Optional[Run]:
        """The first whose teacher nobody is training: no device waits while there is such a run."""
        while waiting:
            jobs.commands.check()
            with taking:
                for run in waiting:
                    if jobs.may_begin(plan.teacher_of(study, run)):
                        waiting.remove(run)
                        return run
            time.sleep(POLL_SECONDS)
        return None

    def work(device: Device) -> None:
        for run in iter(next_run, None):
            end = jobs.student(run, device)
            ends[end.partition(":")[0]] += 1
            if end != "already done":
                count, minutes = sum(ends.values()), (time.time() - began) / 60
                print(f"[{count}/{len(runs)}, {minutes:.0f} min] {run.folder}: {end}", flush=True)

    print(f"{len(runs)} runs in {jobs.out}, {len(devices)} at a time", flush=True)
    workers = ThreadPoolExecutor(len(devices))
    try:
        list(workers.map(work, devices))
        measure_speeds(jobs, runs)
    except KeyboardInterrupt:
        jobs.commands.stop()  # before its threads are waited for
        raise
    finally:
        workers.shutdown()
    if jobs.of_other_code:
        print(
            f"{len(jobs.of_other_code)} results are of another version of {study['user_dir']}, as "
            f"that in {min(jobs.of_other_code)}: without its folder, a run is done again"
        )
    return ends


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.study", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("study", metavar="STUDY.yaml", help="as those in examples/glue")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="hydra's overrides")
    add("--list", action="store_true", help="name the runs, and do none")
    parser.parse_args = parser.parse_intermixed_args  # an override may follow --list
    return parser


def work(args: argparse.Namespace) -> int:
    study = read_study(args.study, args.overrides)
    if args.list:
        print("\n".join(run.folder for run in plan.all_runs(study)))
        return 0
    check_locks()
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) != signal.SIG_IGN:  # as nohup has it
            signal.signal(name, signal.default_int_handler)
    try:
        ends = run_study(study)
    except KeyboardInterrupt:
        sys.exit("study: stopped; the same command goes on")
    except JobFailed as error:
        sys.exit(f"study: {error}")
    print(", ".join(f"{count} {end}" for end, count in sorted(ends.items())) or "nothing to do")
    return int(ends["failed"] > 0)


def main(argv=None):
    run_cli("study", build_parser, work, argv)
