"""A run goes on with the teacher that it began with, or says that the file is another."""

import shutil

import inprocess
import pytest
import toy
from ranks import errors, refusals
from refusals import assert_matches
from slow_cases import slow
from taught import retrain


def flags(data, folder, teacher, *extra):
    return toy.train_flags(data, folder, "--teacher-path", teacher, "--max-epoch", 3, *extra)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("same_teacher")


@pytest.fixture
def own(folder, teacher):
    """A copy of the teacher, the same at the begin of each test, at the path of all of them."""
    return shutil.copy(teacher, folder / "teacher.pt")


@pytest.fixture(scope="module")
def begun(folder, classification, teacher):
    own = shutil.copy(teacher, folder / "teacher.pt")
    inprocess.run_training(flags(classification, folder / "s", own, "--max-update", 9))
    return folder / "s"


@pytest.fixture
def stopped(tmp_path, begun):
    return toy.copy_data(begun, tmp_path / "s")


CHANGED = "--teacher-path: {} has changed since the run began .it was [0-9a-f]{{12}}, it is"


@pytest.mark.parametrize("cache", [False, *slow(True)])
def test_a_teacher_that_changed_meanwhile_is_named(tmp_path, classification, own, stopped, cache):
    retrain(own)
    extra = ["--teacher-cache", tmp_path / "cache"] if cache else []
    with pytest.raises(ValueError) as error:
        inprocess.run_training(flags(classification, stopped, own, *extra))
    assert_matches(CHANGED.format(own), str(error.value))
    assert inprocess.updates(stopped) == 9


@pytest.mark.slow
def test_on_every_process(tmp_path, classification, own, stopped):
    """``stopped`` is the save-dir of :func:`refusals`, too."""
    retrain(own)
    for said in refusals(tmp_path, classification, ["--teacher-path", own, "--max-epoch", 3]):
        assert_matches(CHANGED.format(own), said)


def test_the_same_content_under_another_name_is_the_same_teacher(
    tmp_path, classification, own, stopped
):
    other = own.rename(tmp_path / "moved.pt")
    log = inprocess.run_training(flags(classification, stopped, other))
    assert "other teachers" not in log
    assert inprocess.updates(stopped) == 21


def test_another_file_is_meant_and_said(tmp_path, classification, own, stopped, teacher):
    other = tmp_path / "other.pt"
    other.write_bytes(teacher.read_bytes())
    retrain(other)
    log = inprocess.run_training(flags(classification, stopped, other))
    assert "WARNING" in log and "other teachers than at the beginning of the run" in log


@pytest.mark.parametrize(
    "new_run",
    [
        ["--finetune-from-model", "LAST"],
        *slow(["--restore-file", "LAST", "--reset-optimizer", "--reset-dataloader"]),
    ],
    ids=lambda flags: flags[0],
)
def test_a_new_run_from_an_old_student_may_have_another(
    tmp_path, classification, own, stopped, new_run
):
    retrain(own)
    last = stopped / "checkpoint_last.pt"
    extra = [last if flag == "LAST" else flag for flag in new_run]
    inprocess.run_training(flags(classification, tmp_path / "new", own, *extra))
    assert (tmp_path / "new" / "checkpoint_last.pt").exists()


def test_a_save_dir_that_one_host_does_not_see(tmp_path, classification, own, stopped):
    """fairseq's first process would send its checkpoint to others that do not wait for it."""
    mine = flags(classification, stopped, own)
    other = flags(classification, tmp_path / "local", own)
    results = toy.processes(2, "fairseq_cli.train", mine, other, check=False)
    for said in errors(*results):
        assert said == (
            "--save-dir: whether checkpoint_last.pt is there must be the same on every rank: "
            "True on rank 0, False on rank 1"
        )
