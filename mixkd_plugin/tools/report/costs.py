"""The sections of a report about costs and failures."""

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from .result_line import TEACHER
from .results import Result, Results
from .sections import ABSENT, markdown
from .tables import Group, columns, labels

MODEL = ("layers", "parameters", "bytes", "sentences_per_second")


def costs(group: Group, results: Results) -> str:
    """Size and speed of student and teacher; length of training and what it asked the teacher."""
    return (
        "### Costs\n\nMB: parameters in the type that they are saved in. In brackets: the "
        f"student's share of the teacher's.\n\n{_models(group, results)}\n\n"
        "Examples in the training part, updates, and rows that the teacher was asked about, by "
        f"arm:\n\n{_training(group)}\n"
    )


def _models(group: Group, results: Results) -> str:
    rows = []
    for task in dict.fromkeys(result.run.task for result in group.results):
        records = [result.record for result in group.results if result.run.task == task]
        speed = next((s for s in results.speeds if (s["task"], s["student"]) ==
                      (task, group.student)), {})  # fmt: skip
        taught = [record["teacher"] for record in records if "teacher" in record]
        taught += [t.record for t in results.teachers if t.run.task == task]
        of_teacher = {key.partition("_")[2]: v for key, v in speed.items() if TEACHER in key}
        student = _known(MODEL, [speed, *records])
        teacher = _known(MODEL, [of_teacher, *taught])
        rows.append([task, TEACHER, *(_size(key, teacher.get(key)) for key in MODEL)])
        rows.append([task, group.student, *(_share(key, student, teacher) for key in MODEL)])
    return markdown(["task", "model", "layers", "parameters", "MB", "sentences a second"], rows)


def _known(keys: Iterable[str], records: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """The first value that there is of each key."""
    return {key: next((r[key] for r in records if key in r), None) for key in keys}


def _size(key: str, value: Optional[float]) -> str:
    if value is None:
        return ABSENT
    if key == "bytes":
        return f"{value / 1e6:.1f}"
    return f"{value:,.0f}"


def _share(key: str, student: Mapping[str, Any], teacher: Mapping[str, Any]) -> str:
    text, whole = _size(key, student.get(key)), teacher.get(key)
    if text == ABSENT or not whole:
        return text
    return f"{text} ({student[key] / whole:.2f})"


def _training(group: Group) -> str:
    arms, rows = labels(group.results), []
    for column in columns(group.results):
        if column.split != "valid":
            continue
        inside = [r for r in group.results if r.run[:2] == column[:2]]
        row = [f"{column.task}, {100 * column.fraction:g}%"]
        row += [_range(r.record.get(key) for r in inside) for key in ("examples", "updates")]
        for arm in arms:
            row.append(_range(r.record.get("teacher_queries") for r in inside
                              if r.run.label == arm))  # fmt: skip
        rows.append(row)
    return markdown(["cell", "examples", "updates", *arms], rows)


def _range(values: Iterable[Optional[int]]) -> str:
    """The one value, or from the least to the largest."""
    known = sorted({value for value in values if value is not None})
    return "–".join(f"{value:,}" for value in dict.fromkeys([*known[:1], *known[-1:]])) or ABSENT


def failures(failed: Sequence[Result]) -> str:
    """Every run without a result, and its last words."""
    if not failed:
        return ""
    rows: List[List[str]] = []
    for run, record in failed:
        last = " ".join(record["error"].split()).replace("|", "\\|")
        rows.append([*(f"{value:g}" if isinstance(value, float) else str(value) for value in run),
                     f"…{last[-200:]}" if len(last) > 200 else last])  # fmt: skip
    header = ["task", "fraction", "seed", "student", "arm", "data", "variant", "error"]
    return f"## Failures\n\nRuns that have no result.\n\n{markdown(header, rows)}\n"
