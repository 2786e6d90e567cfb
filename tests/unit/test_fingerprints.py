"""Which files are a split's, and which code is a run's: what answers and runs are told apart by."""

import gc
import shutil
import sys
from types import ModuleType, SimpleNamespace

import forked
import numpy as np
import pytest
import toy
from fairseq.models import MODEL_REGISTRY
from ranks import at_address, errors
from ranks import refusals as refusals_of_two
from refusals import FINE_TUNE, KD, assert_matches

from mixkd_plugin.fingerprints import (
    digest_of_package,
    digests_of_code,
    digests_of_imports,
    digests_of_split,
    files_of_split,
)
from mixkd_plugin.teacher import build
from mixkd_plugin.teacher.disk_cache import LogitsCache

LOOK_ALIKES = [
    "train_noisy.bin", "train_noisy.idx", "trainer.bin", "train-old.bin", "train01.bin",
    "train01.idx", "train.bin.bak", "train.txt", "train.log", "train2.bin", "train2.idx",
    "xtrain.bin",
]  # fmt: skip


@pytest.fixture
def data(tmp_path, classification):
    """train, train1 and, beyond the gap, train3."""
    data = toy.copy_data(classification, tmp_path / "data")
    for column in ("input0", "label"):
        for suffix in ("bin", "idx"):
            for part in ("train1", "train3"):
                shutil.copy(data / column / f"train.{suffix}", data / column / f"{part}.{suffix}")
    return data


def names(paths):
    return [path.split("/")[-1] for path in paths]


@pytest.mark.parametrize("combine", [False, True])
def test_the_files_that_fairseq_reads(data, combine):
    parts = ["train", "train1"] if combine else ["train"]
    expected = [f"{part}.{suffix}" for part in parts for suffix in ("bin", "idx")]
    for name in set(LOOK_ALIKES) - {"train2.bin", "train2.idx"}:
        (data / "input0" / name).write_bytes(b"x")
    assert names(files_of_split(str(data), "train", combine)) == expected
    digests = digests_of_split({"the data": str(data)}, "train", combine)
    assert list(digests) == [
        f"{column}/{name} of the data" for column in ("input0", "label") for name in expected
    ]


def test_a_part_that_closes_a_gap_joins_what_comes_after_it(data):
    for suffix in ("bin", "idx"):
        (data / "input0" / f"train2.{suffix}").write_bytes(b"x")
    found = files_of_split(str(data), "train", True)
    assert names(found)[::2] == ["train.bin", "train1.bin", "train2.bin", "train3.bin"]


def test_labels_of_a_regression_are_compared(regression):
    digests = digests_of_split({"the data": str(regression)}, "train", True)
    assert "label/train.label of the data" in digests and "label/valid.label" not in str(digests)


@pytest.mark.parametrize(
    "name, combine, stays",
    [(name, combine, True) for name in LOOK_ALIKES[:-3] for combine in (False, True)]
    + [("train1.bin", False, True), ("train1.bin", True, False), ("train.bin", False, False)],
)
def test_answers_are_kept_by_the_split_alone(tmp_path, data, name, combine, stays):
    outputs = np.ones((2, 1, 2), dtype=np.float32)

    def cache():
        return LogitsCache(str(tmp_path / "cache"), ["teacher"], {}, str(data))

    cache().make_folder()
    cache().store("train", "rows", outputs, combine)
    (data / "input0" / name).write_bytes(b"other")
    assert (cache().load("train", "rows", outputs.shape, combine) is not None) == stays


def test_processes_may_differ_in_files_that_nobody_reads(tmp_path, classification):
    """What is refused is the other label, not the other noise."""
    data = toy.copy_data(classification, tmp_path / "other")
    for name in LOOK_ALIKES:
        (data / "input0" / name).write_bytes(b"noise")
    (data / "raw" / "train.text").write_text("x")
    (data / "label" / "valid.bin").write_bytes(b"".join(reversed_pairs(data)))
    for said in refusals_of_two(tmp_path, classification, FINE_TUNE, other_data=data):
        assert said.startswith("label/valid.bin of the data must be the same on every rank")


def reversed_pairs(data):
    """The labels of the validation split in another order."""
    content = (data / "label" / "valid.bin").read_bytes()
    width = len(content) // 37
    return [content[i : i + width] for i in range(0, len(content), width)][::-1]


# --- code ---


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
@pytest.mark.parametrize("edited, answers", [("encoder.py", 2), ("notes.txt", 1)])
def test_an_edited_encoder_replays_no_answers(tmp_path, classification, edited, answers):
    folder = tmp_path / "my_mixkd"
    shutil.copytree(toy.ROOT / "examples" / "extend" / "my_mixkd", folder)
    flags = ["--user-dir", folder, "--arch", "my_cnn", "--max-epoch", 1]

    def run(name, *extra):
        flags_of_run = toy.train_flags(classification, tmp_path / name, *flags, *extra)
        ((code, log),) = forked.run(["fairseq_cli.train", *flags_of_run])
        assert code == 0, log[-3000:]
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
    (package / "README.md").write_text("nothing to compute by")
    assert found[-1] == build._digests_of_code(cfg)
    assert all(a != b for a, b in zip(found, found[1:]))
    assert set(found[-1]) >= {"their_mixkd", "their_helper"}
    assert not {"os", "numpy", "torch", "fairseq", "mixkd_plugin", "__main__"} & set(found[-1])


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
