"""A report of given results, and what its tables say."""

import contextlib
import re
from pathlib import Path
from unittest import mock

import synthetic_study as synthetic

from mixkd_plugin.tools.report import figures, main


@contextlib.contextmanager
def empty_pictures():
    """Figures are chosen and named, and not drawn."""
    grid = mock.MagicMock(savefig=lambda path, **_: Path(path).touch())
    plots = {"relplot.return_value": grid, "catplot.return_value": grid}
    with mock.patch.multiple(figures, sns=mock.MagicMock(**plots), pyplot=mock.MagicMock()):
        yield


def report_of(tmp_path, lines, *flags, draw=False):
    """The report's text, and the folder with its figures: empty files, unless ``draw``."""
    out = tmp_path / "out"
    with contextlib.nullcontext() if draw else empty_pictures():
        results = synthetic.write(tmp_path / "results.jsonl", lines)
        main([results, "--out", str(out), "--force", *flags])
    return re.sub(" +", " ", (out / "report.md").read_text(encoding="utf-8")), out


def section(text, heading):
    return text.split(f"{heading}\n")[1].split("\n#")[0]


def table_of(text, heading):
    """{row: {column: cell}} of the first table under a heading."""
    table = re.search(r"^\|.*?(?=\n\n|\Z)", section(text, heading), re.DOTALL | re.MULTILINE)
    rows = table.group().strip().splitlines()
    header, _, *rows = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    return {row[0]: dict(zip(header[1:], row[1:])) for row in rows}
