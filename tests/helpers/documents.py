"""The project's documents, and the blocks of code in them.

A block is run by `tests/examples/test_documents.py` as it stands in its document, unless the line
before it is one of these marks::

    <!-- run by tests/examples/test_quickstart.py -->
    <!-- not run: needs Slurm -->
"""

import re
from pathlib import Path
from typing import Iterator, NamedTuple, Optional

from toy import ROOT

DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("examples/**/*.md"),
                 *ROOT.glob("mixkd_plugin/**/*.md")]
    if "out" not in path.relative_to(ROOT).parts
)  # fmt: skip
BLOCK = re.compile(r"(?:^<!-- ([^\n]+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_BY, NOT_RUN = "run by ", "not run: "


class Block(NamedTuple):
    path: Path
    line: int
    mark: Optional[str]
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """The commands and programs of a document, in order."""
    text = path.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        mark, language, code = found.groups()
        if language in ("bash", "python"):
            yield Block(path, text.count("\n", 0, found.start(2)) + 1, mark, language, code)


def shell_lines(path: Path) -> Iterator[str]:
    """The lines of a document's shell commands, those that go on as one."""
    for block in blocks(path):
        if block.language == "bash":
            yield from block.text.replace("\\\n", " ").splitlines()
