"""Speed of the teacher and the students of a study, measured after all runs."""

import contextlib
import json
from collections.abc import Mapping, Sequence

from pydantic_core import from_json

from ..output import atomic_write
from ..results import GOLD, TEACHER, Run
from . import plan
from .commands import Device, JobFailed, begin, compare_command
from .jobs import Jobs
from .records import Record


def measure_speeds(jobs: Jobs, runs: Sequence[Run]) -> None:
    """Measure sentences a second of teacher and students of each task on the CPU."""
    for task in sorted({run.task for run in runs}):
        students: dict[str, Run] = {}
        for run in runs:
            checkpoint = jobs.folder(run) / "checkpoint_last.pt"
            if run.task == task and jobs.result(run) and checkpoint.exists():
                students.setdefault(run.student, run)
        with jobs.lock(jobs.out / "speed" / task):
            if students:
                try:
                    _measure(jobs, task, students)
                except (JobFailed, ValueError) as error:
                    print(f"speed of {task}: failed: {error}", flush=True)


def _measure(jobs: Jobs, task: str, students: Mapping[str, Run]) -> None:
    folder = jobs.out / "speed" / task
    of_first = plan.teacher_of(jobs.study, next(iter(students.values())))
    teacher = jobs.teacher(of_first, Device(None, 1))
    # models of one size have the same speed
    sizes = {name: _size(jobs.result(run)) for name, run in students.items()}
    sizes[TEACHER] = _size(teacher)
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        before = from_json((folder / "result.json").read_bytes())["sizes"]  # may be damaged
        if all(before.get(name) == size for name, size in sizes.items()):
            return
    paths = {name: str(jobs.folder(run) / "checkpoint_last.pt") for name, run in students.items()}
    models = {TEACHER: teacher["checkpoint"], **paths}
    data, out = jobs.inputs.data(task, GOLD), folder / "compare"
    begin(folder, "compare")
    command = compare_command(data, out, models, "valid", jobs.user_dir)
    jobs.commands.call("compare", command, folder / "run.log")
    found = json.loads((out / "compare.json").read_text())["models"]
    lines = [
        {"kind": "speed", "task": task, "student": student, **_speed(found[student]),
         **{f"teacher_{key}": value for key, value in _speed(found[TEACHER]).items()}}
        for student in students
    ]  # fmt: skip
    atomic_write(folder / "result.json", json.dumps({"sizes": sizes, "lines": lines}))
    jobs.write_results()


def _size(result: Record) -> list[int]:
    return [result["layers"], result["parameters"]]


def _speed(row: Record) -> Record:
    return {key: row[key] for key in ("sentences_per_second", "parameters")}
