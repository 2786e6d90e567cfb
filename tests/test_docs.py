"""The documents against the code: flags, architectures, commands, links, files."""

import importlib
import re
import runpy
import shlex

import pytest
import reference
from documents import DOCUMENTS, NOT_RUN, RUN_BY, blocks, shell_lines
from reader import SHORTER
from toy import ROOT

from mixkd_plugin.__main__ import COMMANDS
from mixkd_plugin.tools.flags.flags import declared

README = (ROOT / "user_dir_README.md").read_text(encoding="utf-8")


def test_the_tables_of_the_reference_are_those_of_the_code():
    written = reference.with_tables(README)
    assert len(reference.flags("--task mixkd_sentence_prediction")) > 15
    assert written == README, "python tests/helpers/reference.py writes them"


def test_what_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tests = set(re.findall(r"tests/[\w/]+(?:\.\w+)?", text))
    tests |= {f"tests/{name}" for name in re.findall(r"`([\w/]+/test_\w+\.py)`", README)}
    rows = re.search(r"\| package \|.*?\n\n", text, re.DOTALL).group().splitlines()[2:]
    modules = {name for row in rows if row for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert len(tests) > 15
    assert [name for name in tests if not (ROOT / name).exists()] == []
    package = ROOT / "mixkd_plugin"
    there = {path.stem for path in package.iterdir() if not path.name.startswith("__")}
    assert modules == there


def anchors(path):
    """Of the headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        page = target / "README.md" if target.is_dir() else target
        known = not anchor or (page.is_file() and anchor in anchors(page))
        if not target.exists() or not known:
            broken.append(link)
    assert broken == []


def lines():
    """Of the documented shell commands, with their document."""
    return ((path, line) for path in DOCUMENTS for line in shell_lines(path))


def commands():
    """Documented calls of our commands: name and words."""
    for path, line in lines():
        found = re.match(r"(?:OMP\S+ )?(?:mixkd|python -m mixkd_plugin) (\S+)(.*)", line)
        if found:
            words = shlex.split(found[2], comments=True)
            yield pytest.param(found[1], words, id=f"{path.parent.name}: {line[:70]}")


@pytest.mark.parametrize("name, words", list(commands()))
def test_documented_commands_are_understood(name, words):
    tool = importlib.import_module(f"mixkd_plugin.tools.{COMMANDS[name][0]}.command")
    tool.build_parser().parse_args(words)


def test_documented_flags_of_fairseq_train_exist():
    known = {name for _, action in declared() for name in action.option_strings}
    named = [(line, re.findall(r"--[a-z][\w-]+", line)) for _, line in lines()]
    named = [(line, names) for line, names in named if line.startswith("fairseq-train")]
    assert len(named) >= 4
    for line, names in named:
        assert {*names} <= known, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_not_run_as_it_stands_says_why_or_where(path):
    for block in blocks(path):
        if block.mark is None:
            continue
        assert block.mark.startswith((RUN_BY, NOT_RUN)), f"{block}: {block.mark}"
        if block.mark.startswith(NOT_RUN):
            continue
        test = (ROOT / block.mark.removeprefix(RUN_BY)).read_text(encoding="utf-8")
        scripts = re.findall(r"\bexamples/[\w/]+/(\w+\.\w+)", block.text)
        assert scripts and all(script in test for script in scripts), block


def test_what_is_run_in_place_of_a_text_is_of_a_document():
    texts = [block.text for path in DOCUMENTS for block in blocks(path) if block.mark is None]
    assert [old for old in SHORTER if not any(old in text for text in texts)] == []


def test_scripts_and_tests_that_documents_name_are_there():
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"\b(?:examples(?!/test_)|tests)/[\w/]+\.(?:sh|py|sbatch|yaml)\b", text)
        assert [name for name in named if not (ROOT / name).exists()] == [], path


def test_the_text_for_a_package_index_has_no_links_into_the_project(monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **words: given.update(words))
    runpy.run_path(str(ROOT / "setup.py"))
    text = given["long_description"]
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) >= 2 and all(link.startswith("http") for link in links)
    assert "## Your own classifier" in text
