"""The commands and programs of the documents, as they stand there, on small models and data."""

import json

import pytest
from documents import DOCUMENTS, blocks
from reader import QUICKSTART, follow, write_files
from toy import ROOT

pytestmark = pytest.mark.slow

GUIDES = ROOT / "examples"
FIRST = GUIDES / "your_classifier" / "README.md"  # it makes what others use
ARMS = GUIDES / "compare_methods" / "README.md"
OTHERS = [p for p in DOCUMENTS if p not in (FIRST, ARMS) and any(b.mark is None for b in blocks(p))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, transformers, venv):
    """What a reader has after the first guide, and after the quickstart."""
    folder = tmp_path_factory.mktemp("documents")
    write_files(folder, transformers)
    follow(FIRST, folder, venv)
    work = folder / QUICKSTART
    (work / "runs" / "teacher").mkdir(parents=True)
    for name, made in {"data": "data", "encoder": "minilm",
                       "runs/teacher/best.pt": "teacher/checkpoint_last.pt"}.items():  # fmt: skip
        (work / name).symlink_to(folder / made)
    return folder


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_says_runs(path, folder, venv):
    follow(path, folder, venv)


def test_parts_of_another_package_are_arms_of_a_study(folder, venv):
    """A distance, a criterion, a pairing rule, a kind of mix, an encoder."""
    follow(ARMS, folder, venv)
    lines = (folder / "OUT-mine" / "results.jsonl").read_text().splitlines()
    runs = [line for line in map(json.loads, lines) if line.get("student") and line.get("arm")]
    found = {(run["student"], run["arm"]): run["command"] for run in runs}
    for arm, flag in {
        "my-distance": "--distill-distance cosine",
        "my-criterion": "--criterion my_criterion",
        "my-pairing": "--mixup-pairing other-label",
        "my-kind": "--mixup-kind sparse",
    }.items():
        assert flag in found["3-layer", arm]
    assert "--arch my_cnn" in found["my-encoder", "KD"]
    assert all("--user-dir my_mixkd" in command for command in found.values())
    assert {run["examples"] for run in runs} == {32} and len(found) == 7
