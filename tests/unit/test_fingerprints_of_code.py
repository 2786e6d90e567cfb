"""Which code is a run's: what answers of a teacher and runs are told apart by."""

import gc
import shutil
import sys
from types import ModuleType, SimpleNamespace

import pytest
import toy
from fairseq.models import MODEL_REGISTRY
from ranks import at_address, errors
from ranks import refusals as refusals_of_two
from refusals import FINE_TUNE, KD, assert_matches

from mixkd_plugin.data.mixup_kinds import MIXUP_KINDS
from mixkd_plugin.fingerprints import digest_of_package, digests_of_code, digests_of_imports
from mixkd_plugin.teacher import build


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of an extender's, with a package inside."""
    folder = tmp_path / "their_mixkd"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("from .models import cnn\n")
    (folder / "models" / "__init__.py").write_text("")
    (folder / "models" / "cnn.py").write_text("class CNN:\n    width = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("their_mixkd")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "file, changes",
    [
        ("models/cnn.py", True),
        ("models/new.py", True),
        ("models/notes.txt", False),
        (".ipynb_checkpoints/cnn.py", False),
        ("models/__pycache__/cnn.cpython-311.pyc", False),
    ],
)
def test_a_package_is_known_by_its_sources(package, file, changes):
    __import__("their_mixkd")
    before = digest_of_package("their_mixkd")
    (package / file).parent.mkdir(exist_ok=True)
    (package / file).write_text("class CNN:\n    width = 2\n")
    assert (digest_of_package("their_mixkd") != before) == changes


def test_a_package_elsewhere_with_the_same_sources_is_the_same(package, tmp_path, monkeypatch):
    __import__("their_mixkd")
    before = digest_of_package("their_mixkd")
    copied = shutil.copytree(package, tmp_path / "elsewhere")
    monkeypatch.setattr(sys.modules["their_mixkd"], "__path__", [str(copied)])
    assert digest_of_package("their_mixkd") == before


def test_the_code_of_a_run_is_ours_the_user_directorys_and_that_of_registered_models(
    package, tmp_path, monkeypatch
):
    __import__("their_mixkd")
    assert "their_mixkd" not in digests_of_code(None)
    by_folder = digests_of_code(f"{package}/")
    monkeypatch.setitem(MODEL_REGISTRY, "cnn", sys.modules["their_mixkd.models.cnn"].CNN)
    by_model = digests_of_code(str(toy.PLUGIN))
    assert by_folder == by_model and {"mixkd_plugin", "their_mixkd"} <= by_model.keys()
    assert not {"fairseq", "torch", "builtins", "typing"} & by_model.keys()


def test_a_module_without_a_file_is_known_by_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "of_a_notebook", ModuleType("of_a_notebook"))
    assert digest_of_package("of_a_notebook") == ""


def other_user_dirs(tmp_path, edited):
    """The package of examples/extend on two hosts, with one file edited on the second."""
    folders = [tmp_path / host / "my_mixkd" for host in ("a", "b")]
    for folder in folders:
        shutil.copytree(toy.ROOT / "examples" / "extend" / "my_mixkd", folder)
    with (folders[1] / edited).open("a") as file:
        file.write("\n# another version\n")
    return folders


def test_processes_with_another_user_directory(tmp_path, classification):
    flags, other_flags = (
        [*FINE_TUNE, "--user-dir", folder] for folder in other_user_dirs(tmp_path, "distance.py")
    )
    for said in refusals_of_two(tmp_path, classification, flags, other_flags):
        assert_matches("the code of my_mixkd must .* rank: [0-9a-f]{16} on rank 0, [0-9a-f]", said)


@pytest.mark.slow
def test_processes_with_another_version_of_this_package(tmp_path, classification):
    copied = shutil.copytree(toy.PLUGIN, tmp_path / "copy" / "mixkd_plugin")
    with (copied / "losses.py").open("a") as file:
        file.write("\n# another version\n")
    port, commands = toy.free_port(), []
    for rank, plugin in enumerate((toy.PLUGIN, copied)):
        flags = toy.train_flags(classification, tmp_path / "s", *FINE_TUNE, "--user-dir", plugin)
        commands.append(at_address(f"tcp://127.0.0.1:{port}", rank, *flags))
    for said in errors(*toy.run_together(*commands, check=False)):
        assert_matches("the code of mixkd_plugin must be the same on every rank", said)


@pytest.mark.slow
@pytest.mark.parametrize("edited, answers", [("encoder.py", 2), ("scale.txt", 2), ("notes.md", 1)])
def test_an_edited_encoder_replays_no_answers(tmp_path, classification, edited, answers):
    folder = tmp_path / "my_mixkd"
    shutil.copytree(toy.ROOT / "examples" / "extend" / "my_mixkd", folder)
    flags = ["--user-dir", folder, "--arch", "my_cnn", "--max-epoch", 1]

    def run(name, *extra):
        toy.train(classification, tmp_path / name, *flags, *extra)
        return len(list((tmp_path / "cache").glob("*.npy")))

    run("teacher", *FINE_TUNE)
    taught = [
        *KD, "--teacher-path", tmp_path / "teacher" / "checkpoint_last.pt",
        "--teacher-cache", tmp_path / "cache",
    ]  # fmt: skip
    before = run("first", *taught)
    with (folder / edited).open("a") as file:
        file.write("\n# another version\n")
    assert run("second", *taught) == answers * before == answers * 2


@pytest.fixture
def helper(package, tmp_path):
    """A module beside their package, which theirs calls."""
    (tmp_path / "their_helper.py").write_text("SCALE = 1\n")
    __import__("their_mixkd")
    yield tmp_path / "their_helper.py"
    sys.modules.pop("their_helper", None)


def test_answers_are_kept_by_what_a_package_imports_and_reads(package, helper):
    """Edited, they would find yesterday's answers."""
    cfg = SimpleNamespace(user_dir=str(package), teacher_cache="cache")
    found = [build._digests_of_code(cfg)]
    __import__("their_helper")
    found.append(build._digests_of_code(cfg))
    helper.write_text("SCALE = 3\n")
    found.append(build._digests_of_code(cfg))
    (package / "models" / "scale.json").write_text("2")
    found.append(build._digests_of_code(cfg))
    for name in ("scale.txt", "table.npy", "LICENSE"):  # whatever lies beside Python files
        (package / "models" / name).write_text("2")
        found.append(build._digests_of_code(cfg))
    (package / "README.md").write_text("nothing to compute by")
    (package / "out").mkdir()
    (package / "out" / "checkpoint_last.pt").write_text("of a run, which writes others")
    assert found[-1] == build._digests_of_code(cfg)
    assert all(a != b for a, b in zip(found, found[1:]))
    assert set(found[-1]) >= {"their_mixkd", "their_helper"}
    assert not {"os", "numpy", "torch", "fairseq", "mixkd_plugin", "__main__"} & set(found[-1])


def test_answers_to_mixes_are_kept_by_the_code_of_their_kind(package, monkeypatch):
    __import__("their_mixkd")
    monkeypatch.setattr(build, "digests_of_imports", dict)  # as if theirs were installed
    cfg = SimpleNamespace(user_dir=None, teacher_cache="cache")
    assert "their_mixkd" not in build._digests_of_code(cfg)
    rule = sys.modules["their_mixkd.models.cnn"].CNN
    monkeypatch.setattr(MIXUP_KINDS, "_entries", {**MIXUP_KINDS._entries, "mine": rule})
    assert "their_mixkd" in build._digests_of_code(cfg)


def test_without_a_package_of_ones_own_no_other_module_matters(helper, monkeypatch):
    __import__("their_helper")
    monkeypatch.setattr(build, "digests_of_code", lambda *_: {"mixkd_plugin": "0"})
    cfg = SimpleNamespace(user_dir=str(toy.PLUGIN), teacher_cache="cache")
    assert build._digests_of_code(cfg) == {}


def test_a_module_that_is_imported_while_all_are_listed():
    """By what Python finalises in between, whenever it likes."""
    made = []

    class Late:
        def __del__(self):
            made.append(f"late_{len(made)}")
            sys.modules[made[-1]] = ModuleType(made[-1])
            if len(made) < 2000:
                again()

    def again():
        late = Late()
        late.itself = late

    before, known = gc.get_threshold(), digests_of_imports()
    try:
        again()
        gc.set_threshold(1, 10**6, 10**6)
        assert digests_of_imports() == known
    finally:
        gc.set_threshold(*before)
        Late.__del__ = lambda self: None
        for name in made:
            del sys.modules[name]
    assert made
