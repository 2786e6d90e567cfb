"""How fast the teacher and the students of a study are, measured once it is done."""

import contextlib
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from ..report.result_line import GOLD, TEACHER, Run, parse_json
from . import plan
from .commands import compare_command
from .jobs import Jobs, write_json
from .processes import Device, JobFailed, begin


def measure_speeds(jobs: Jobs, runs: Sequence[Run]) -> None:
    """Sentences a second of teacher and students of each task, side by side on the CPU."""
    for task in sorted({run.task for run in runs}):
        students: Dict[str, Run] = {}
        for run in runs:
            if run.task == task and jobs.result(run) and jobs.checkpoint(run).exists():
                students.setdefault(run.student, run)
        folder = jobs.out / "speed" / task
        with jobs.lock(folder):
            if students:
                try:
                    _measure(jobs, task, students, folder)
                except (JobFailed, ValueError) as error:
                    print(f"speed of {task}: failed: {error}", flush=True)


def _measure(jobs: Jobs, task: str, students: Mapping[str, Run], folder: Path) -> None:
    of_first = plan.teacher_of(jobs.study, next(iter(students.values())))
    teacher = jobs.teacher(of_first, Device(None, 1))
    paths = {name: str(jobs.checkpoint(run)) for name, run in students.items()}
    # whatever they learned since, models of one size are as fast
    sizes = {name: _size(jobs.result(run)) for name, run in students.items()}
    sizes[TEACHER] = _size(teacher)
    known = folder / "result.json"  # may be damaged
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        before = parse_json(known.read_bytes())["sizes"]
        if all(before.get(name) == size for name, size in sizes.items()):
            return
    command = compare_command(
        jobs.inputs.data(task, GOLD), folder / "compare", teacher["checkpoint"], paths,
        user_dir=jobs.user_dir,
    )  # fmt: skip
    begin(folder, "compare")
    jobs.commands.call("compare", command, folder / "run.log")
    models = json.loads((folder / "compare" / "compare.json").read_text())["models"]
    lines = []
    for student in students:
        line = {"kind": "speed", "task": task, "student": student}
        for prefix, name in (("", student), ("teacher_", "teacher")):
            for key in ("sentences_per_second", "parameters"):
                line[prefix + key] = models[name][key]
        lines.append(line)
    write_json(known, {"sizes": sizes, "lines": lines})
    for line in lines:
        jobs.append(line)


def _size(result: Mapping[str, Any]) -> List[int]:
    return [result["layers"], result["parameters"]]
