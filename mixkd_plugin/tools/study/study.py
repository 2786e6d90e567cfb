"""The work of `study`: tasks x fractions x students x arms x data x variants x seeds."""

import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..locks import POLL_SECONDS
from ..results import Run
from . import plan
from .commands import Device, check_flags
from .jobs import Jobs
from .speed import measure_speeds
from .tasks import check_tasks

STUDIES = Path(__file__).resolve().parents[3] / "examples" / "glue"  # of a checkout


@dataclass
class Study:
    """The keys of a study and their types; examples/glue/study.yaml describes them."""

    glue: dict[str, str] = MISSING
    out: str = MISSING
    encoder: str = MISSING
    encode_tokenizer: str = MISSING
    user_dir: str | None = None
    encode_flags: dict[str, Any] = MISSING
    devices: Any = MISSING
    jobs: int | None = MISSING
    points: int = MISSING
    gap: bool = MISSING
    keep: str = MISSING
    tasks: list[str] = MISSING
    fractions: list[float] = MISSING
    seeds: list[int] = MISSING
    students: list[str] = MISSING
    arms: list[str] = MISSING
    data: list[str] = MISSING
    variants: list[str] = MISSING
    settings: dict[str, Any] = MISSING


def read_study(
    path: str, overrides: Sequence[str], given: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """The configuration at ``path``, composed by hydra; ``given``: values of keys, as they are.

    Its ``defaults`` may name studies beside it and those of STUDIES.

    Raises:
        ValueError: if the file is missing or wrong, or a value is.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"STUDY must be a YAML file, got {path}")
    try:
        with initialize_config_dir(config_dir=str(file.parent), version_base="1.1"):
            ours = [f"hydra.searchpath=['file://{STUDIES}']"] if STUDIES.is_dir() else []
            config = compose(file.stem, [*ours, *overrides])
        OmegaConf.set_struct(config, False)
        for key, value in given.items():
            OmegaConf.update(config, key, value)
        config = OmegaConf.merge(OmegaConf.structured(Study), config)
        study = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if study["keep"] not in ("all", "first"):
        raise ValueError(f"keep must be all or first, got {study['keep']!r}")
    for key in ("points", "jobs"):
        if study[key] is not None and study[key] < 1:
            raise ValueError(f"{key} must be >= 1, got {study[key]}")
    folders = {f"glue.{name}": folder for name, folder in study["glue"].items()}
    for key, folder in {**folders, "user_dir": study["user_dir"] or "."}.items():
        if "{fraction}" not in folder and not os.path.isdir(folder):
            raise ValueError(f"{key} must be a folder, got {folder}")
    return study


def devices_of(study: Mapping[str, Any]) -> list[Device]:
    """One device for each job that runs at the same time."""
    wanted, jobs, cores = study["devices"], study["jobs"], os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    there = list(range(torch.cuda.device_count()))
    if wanted == "auto":
        wanted = there or "cpu"
    if wanted == "cpu":
        jobs = jobs or max(1, cores // 4)
        return [Device(None, max(1, cores // jobs))] * jobs
    if not isinstance(wanted, list) or not wanted or not set(wanted) <= set(there):
        raise ValueError(f"devices must be auto, cpu or a list of GPUs of {there}, got {wanted!r}")
    threads = max(1, cores // (len(wanted) * (jobs or 1)))
    return [Device(gpu, threads) for gpu in wanted] * (jobs or 1)


def run_study(study: Mapping[str, Any]) -> Counter:
    """Do the runs that are not done; counts of their ends."""
    runs, devices = plan.all_runs(study), devices_of(study)
    for teacher in {plan.settings_of(study, run).get("teacher") for run in runs} - {None}:
        if not os.path.isfile(teacher):
            raise ValueError(f"teacher must be a file, got {teacher}")
    check_flags(study, runs)
    check_tasks(study)
    jobs = Jobs(study)
    waiting, taking = plan.teachers_first(study, runs), threading.Lock()
    began, ends = time.time(), Counter()

    def next_run() -> Run | None:
        """The first run whose teacher is done or can be made now; None after the last one."""
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
    except (KeyboardInterrupt, SystemExit):
        jobs.commands.stop()  # before waiting for its threads
        raise
    finally:
        workers.shutdown()
    if jobs.of_other_code:
        print(
            f"{len(jobs.of_other_code)} results are of an earlier {study['user_dir']}, such as "
            f"{min(jobs.of_other_code)}: remove such a folder to repeat its run"
        )
    return ends
