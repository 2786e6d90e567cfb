"""report: whatever a line holds, it is read, or refused by one sentence with file and line."""

import copy
import json

import pytest
import synthetic_study as synthetic
from slow_cases import slow

from mixkd_plugin.tools.report import figures, main, report
from mixkd_plugin.tools.results import read_results

VALUES = [None, True, -1, 1.5, 10**400, "x", "", "\ud800", "\x00", [], {}, [1], {"valid": None}]
VALUES += [{"valid": {"accuracy": "x"}}, {"valid": {"accuracy": 1.0, "loss": []}}, "DELETE"]
LINES = [
    *synthetic.study(("MNLI",), (0.01,), (1, 2), ("FT", "KD")),
    *synthetic.ablated("mixup-ratio", [1], ["TMKD"], seeds=(1,)),
    {"task": "MNLI", "fraction": 1.0, "seed": 1, "arm": "teacher", "status": "done",
     "metrics": {"valid": {"accuracy": 90.0}}, "layers": 6, "parameters": 10, "bytes": 40},
    synthetic.speed("MNLI"),
    synthetic.failed("MNLI", 0.01, 3, "FT"),
]  # fmt: skip


def places(value, path=()):
    """Keys of all that is in a line, of a list's first value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value[:1])
    for key, inside in items:
        yield from places(inside, (*path, key))


def changed(line, path, value):
    line = copy.deepcopy(line)
    inside = line
    for key in path[:-1]:
        inside = inside[key]
    if value == "DELETE":
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return line


@pytest.fixture
def without_figures(monkeypatch):
    for name in ("_lines", "_categories"):
        monkeypatch.setattr(figures, name, lambda *_, **__: "")


@pytest.mark.parametrize("which", [-1, *slow(3, (-3,), (-2,))])
def test_values_of_wrong_kinds(tmp_path, without_figures, which):
    """Every value of a line of every kind, exchanged for others."""
    others, path = list(LINES), tmp_path / "results.jsonl"
    good = others.pop(which)
    refused = 0
    for place in places(good):
        accepted = None
        for value in VALUES:
            bad = changed(good, place, value)
            synthetic.write(path, [*others, bad])
            try:
                results = read_results([str(path)])
            except ValueError as error:
                refused += 1
                message = str(error)
                assert message.startswith(f"{path}, line {len(LINES)}: "), (place, value)
                assert message.isprintable() and len(message) < 300 + len(str(path))
            else:
                accepted = results
        if accepted is not None:
            assert report.write_report(accepted, str(tmp_path), ["FT"]).encode(), place
    assert refused > 20


@pytest.mark.parametrize("status", ["done", "x", None])
def test_a_speed_has_no_status(tmp_path, status):
    path = synthetic.write(
        tmp_path / "results.jsonl", [{**synthetic.speed("MNLI"), "status": status}]
    )
    assert [one["status"] for one in read_results([path]).speeds] == [status]


@pytest.mark.parametrize(
    "line",
    [b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe", b"\x00", b"null", b"7", b'"text"', b"{]"],
)
def test_damaged_lines(tmp_path, line):
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\n" + line + b"\n" + json.dumps(LINES[0]).encode() + b"\n")
    with pytest.raises(ValueError) as refused:
        read_results([str(path)])
    assert str(refused.value).startswith(f"{path}, line 2: ") and "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_a_run_that_diverged_has_its_place_in_tables_and_figures(tmp_path, value):
    lines = synthetic.study(["SST-2"], (0.01, 0.1), (1, 2), ("FT", "KD"))
    for measures in (lines[0]["metrics"], *lines[0]["curve"][1:]):
        measures["train"].update(loss=value, kd_loss=value)
        measures["valid"].update(loss=value, kd_loss=value)
    path = synthetic.write(tmp_path / "results.jsonl", lines)
    main([path, "--out", str(tmp_path / "report")])
    assert (tmp_path / "report" / "gap.png").exists()
