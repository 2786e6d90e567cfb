"""The documents against the code: flags, architectures, commands, links, files."""

import argparse
import dataclasses
import importlib
import re
import runpy
import shlex

import pytest
from fairseq.models.roberta import RobertaModel
from toy import ROOT

from mixkd_plugin.__main__ import COMMANDS
from mixkd_plugin.criterions.mixkd import MixKDCriterionConfig
from mixkd_plugin.models.mixkd_hf import MixKDHFModel
from mixkd_plugin.models.mixkd_roberta import SIZES, MixKDRobertaModel
from mixkd_plugin.tasks.mixkd_sentence_prediction import MixKDSentencePredictionConfig
from mixkd_plugin.tools.flags.flags import declared

README = (ROOT / "user_dir_README.md").read_text(encoding="utf-8")


def _row(name, default, meaning):
    if default is None:
        shown = "none"
    elif isinstance(default, bool):
        shown = "on" if default else "off"
    else:
        shown = default
    return f"| `--{name.replace('_', '-')}` | {shown} | {meaning} |"


def _dataclass_rows(config):
    own = [f for f in dataclasses.fields(config) if f.name in config.__annotations__]
    return [
        _row(f.name, f.default, f.metadata["help"])
        for f in own
        if "help" in f.metadata  # one without belongs to another dataclass
    ]


def task_flags():
    return _dataclass_rows(MixKDSentencePredictionConfig)


def criterion_flags():
    return _dataclass_rows(MixKDCriterionConfig)


def model_flags():
    ours, fairseqs = argparse.ArgumentParser(), argparse.ArgumentParser()
    MixKDRobertaModel.add_args(ours)
    RobertaModel.add_args(fairseqs)
    own = {a.dest for a in ours._actions} - {a.dest for a in fairseqs._actions}
    return [
        _row(a.dest, a.default, re.sub(r" \(default: [\w-]+\)", "", a.help))
        for a in ours._actions
        if a.dest in own
    ]


def hf_flags():
    parser = argparse.ArgumentParser(add_help=False)
    MixKDHFModel.add_args(parser)
    shown = ((a, re.sub(r" \(default: first\)", "", a.help)) for a in parser._actions)
    return [_row(a.dest, a.default, meaning) for a, meaning in shown]


def architectures():
    return [f"| `{name}` | {' | '.join(map(str, size))} |" for name, size in SIZES.items()]


@pytest.mark.parametrize(
    "rows", [task_flags, criterion_flags, model_flags, hf_flags, architectures]
)
def test_the_reference_has_every_row_as_the_code_has_it(rows):
    rows = rows()
    assert len(rows) >= 2
    missing = [row for row in rows if row not in README.splitlines()]
    assert not missing, "user_dir_README.md lacks:\n" + "\n".join(missing)


def test_the_reference_has_no_flag_that_the_code_lacks():
    documented = {line for line in README.splitlines() if line.startswith("| `--")}
    known = {*task_flags(), *criterion_flags(), *model_flags(), *hf_flags()}
    assert documented <= known


def test_what_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tests = set(re.findall(r"tests/[\w/]+(?:\.\w+)?", text + README))
    rows = re.search(r"\| package \|.*?\n\n", text, re.DOTALL).group().splitlines()[2:]
    modules = {name for row in rows if row for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert len(tests) > 15
    assert [name for name in tests if not (ROOT / name).exists()] == []
    package = ROOT / "mixkd_plugin"
    there = {path.stem for path in package.iterdir() if not path.name.startswith("__")}
    assert modules == there


DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("mixkd_plugin/**/*.md"),
    ]
    if "out" not in path.relative_to(ROOT).parts
)


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
    for path in DOCUMENTS:
        for block in re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            yield from ((path, line) for line in block.replace("\\\n", " ").splitlines())


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
    assert set(re.findall(r"^\| `(--[\w-]+)`", "\n".join(hf_flags()), re.MULTILINE)) <= known
    named = [(line, re.findall(r"--[a-z][\w-]+", line)) for _, line in lines()]
    named = [(line, names) for line, names in named if line.startswith("fairseq-train")]
    assert len(named) >= 4
    for line, names in named:
        assert {*names} <= known, line


def test_scripts_and_tests_that_documents_name_are_there():
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"\b(?:examples|tests)/[\w/]+\.(?:sh|py|sbatch|yaml)\b", text)
        assert [name for name in named if not (ROOT / name).exists()] == [], path


def test_the_text_for_a_package_index_has_no_links_into_the_project(monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **words: given.update(words))
    runpy.run_path(str(ROOT / "setup.py"))
    text = given["long_description"]
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) >= 2 and all(link.startswith("http") for link in links)
    assert "## Your own classifier" in text
