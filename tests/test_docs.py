"""The documents against the code: flags, architectures, files."""

import argparse
import dataclasses
import re

import pytest
from fairseq.models.roberta import RobertaModel
from toy import ROOT

from mixkd_plugin.criterions.mixkd import MixKDCriterionConfig
from mixkd_plugin.models.mixkd_hf import MixKDHFModel
from mixkd_plugin.models.mixkd_roberta import SIZES, MixKDRobertaModel
from mixkd_plugin.tasks.mixkd_sentence_prediction import MixKDSentencePredictionConfig

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
    tests = set(re.findall(r"tests/[\w/]+(?:\.\w+)?", text))
    rows = re.search(r"\| package \|.*?\n\n", text, re.DOTALL).group().splitlines()[2:]
    modules = {name for row in rows if row for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert len(tests) > 15
    assert [name for name in tests if not (ROOT / name).exists()] == []
    package = ROOT / "mixkd_plugin"
    there = {path.stem for path in package.iterdir() if not path.name.startswith("__")}
    assert modules == there
