"""The commands and programs of the documents, as they stand there, on small models and data."""

import hf_models
import pytest
from documents import DOCUMENTS, blocks
from reader import QUICKSTART, follow, write_files
from toy import ROOT

pytestmark = pytest.mark.slow

FIRST = ROOT / "examples" / "your_classifier" / "README.md"  # it makes what others use
OTHERS = [path for path in DOCUMENTS if path != FIRST and any(b.is_run for b in blocks(path))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, venv):
    """What a reader has after the first guide, and after the quickstart."""
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as monkeypatch:
        write_files(folder, hf_models.import_transformers(monkeypatch))
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
