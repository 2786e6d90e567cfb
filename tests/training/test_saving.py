"""A checkpoint file is complete or unchanged, whatever happens while it is written."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import inprocess
import pytest
import torch
import toy
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from inprocess import updates
from plain_train import half_first
from refusals import small_files
from same_end import assert_same_end
from slow_cases import slow

from mixkd_plugin.fairseq_fixes import atomic_save

SAVES = [
    "--tmkd-weight", 0, "--dropout", 0.2, "--max-epoch", 1, "--save-interval-updates", 2,
]  # fmt: skip
NAMES = ["checkpoint_1_2.pt", "checkpoint_1_4.pt", "checkpoint_1_6.pt"]


class KilledError(BaseException):
    """Nothing of the process runs after it but the test."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory, classification):
    folder = tmp_path_factory.mktemp("straight")
    toy.fit(classification, folder, *SAVES)
    return folder


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(atomic_save, "PAUSES", (0, 0))


def cut(real, name, when):
    """`shutil.copyfile`, but in the middle of copying to `name` for the when-th time it ends."""
    calls = []

    def copyfile(source, target, **options):
        if Path(target).name.startswith(name):
            calls.append(target)
            if len(calls) == when:
                Path(target).write_bytes(Path(source).read_bytes()[: os.path.getsize(source) // 2])
                raise KilledError
        return real(source, target, **options)

    return copyfile


@pytest.mark.parametrize(
    "name, when, resumes_from",
    [
        ("checkpoint_last.pt", 3, 4),
        *slow(("checkpoint_best.pt", 1, 0), ("checkpoint_last.pt", 1, 0)),
    ],
)
def test_killed_in_the_middle_of_a_copy(
    tmp_path, monkeypatch, classification, straight, name, when, resumes_from
):
    flags = toy.train_flags(classification, tmp_path, *SAVES)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(shutil, "copyfile", cut(shutil.copyfile, name, when))
        inprocess.run_training(flags)
    found = {path.name: updates(tmp_path, path.name) for path in tmp_path.glob("*.pt")}
    assert NAMES[when - 1] in found  # what was copied
    assert found.get("checkpoint_last.pt", 0) == resumes_from
    inprocess.run_training(flags)
    assert_same_end(straight, tmp_path)
    assert_same_end(straight, tmp_path, "checkpoint_best.pt")
    assert not list(tmp_path.glob("*.tmp"))


def test_killed_in_the_middle_of_a_save(tmp_path, monkeypatch, classification, straight):
    flags = toy.train_flags(classification, tmp_path, *SAVES)
    save = torch.save

    def half(obj, file):
        if obj["optimizer_history"][-1]["num_updates"] < 4:
            return save(obj, file)
        file.write(b"PK half of a file")
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(torch, "save", half)
        inprocess.run_training(flags)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == sorted(
        [NAMES[0], "checkpoint_best.pt", "checkpoint_last.pt"]
    )
    inprocess.run_training(flags)
    assert_same_end(straight, tmp_path)


def test_an_attempt_that_failed_leaves_nothing_in_the_file(tmp_path, monkeypatch):
    """fairseq writes on behind it, and nothing can read that file."""
    monkeypatch.setattr(torch, "save", half_first(torch.save))
    path = tmp_path / "x.pt"
    token = atomic_save._saving.set(True)
    checkpoint_utils.torch_persistent_save({"value": torch.arange(9)}, str(path))
    atomic_save._saving.reset(token)
    assert torch.load(path)["value"].tolist() == list(range(9))


def test_what_is_said_where_nothing_was_saved(tmp_path):
    def fails(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="no earlier checkpoint_last.pt; .* starts again"):
        atomic_save._atomic_write(str(tmp_path / "checkpoint_1_2.pt"), fails)
    (tmp_path / "checkpoint_last.pt").touch()
    with pytest.raises(OSError, match="earlier checkpoints are not changed; .* resumes from them"):
        atomic_save._atomic_write(str(tmp_path / "checkpoint_1_2.pt"), fails)


# --- a full disk ---


def assert_survives(folder, classification, straight, flags, make_room, failed):
    """Training stops with one sentence about the file; with room again it comes to the same end."""
    before = {}

    def look(trainer, _):
        if trainer.get_num_updates() % 2 == 0:
            before.update({p.name: p.read_bytes() for p in folder.glob("*.pt")})

    with pytest.raises(OSError) as failure:
        inprocess.run_training(flags, look)
    text = str(failure.value)
    assert f"checkpoint {folder}/{failed} could not be written" in text and "\n" not in text
    assert "No space left" in text or "File too large" in text
    assert "with free space, the same command resumes from them" in text
    assert "checkpoint_last.pt" in before
    for name, content in before.items():
        assert (folder / name).read_bytes() == content, name
    assert not list(folder.glob("*.tmp"))
    make_room()
    inprocess.run_training(flags)
    assert_same_end(straight, folder)
    assert_same_end(straight, folder, "checkpoint_best.pt")


def test_files_may_not_grow(tmp_path, classification, straight):
    flags = toy.train_flags(classification, tmp_path, *SAVES)
    save = checkpoint_utils.save_checkpoint

    def limited(cfg, trainer, *args):
        fourth = trainer.get_num_updates() == 4
        with small_files(200_000) if fourth else contextlib.nullcontext():
            return save(cfg, trainer, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_utils, "save_checkpoint", limited)
        assert_survives(
            tmp_path, classification, straight, flags, patch.undo, failed="checkpoint_1_4.pt"
        )


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own; call it to set the disk's size in bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(size):
        option = f"size={size}" if not os.path.ismount(folder) else f"remount,size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], check=True)

    try:
        size(1 << 20)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a disk, and not everywhere")
    size.folder = folder
    yield size
    subprocess.run(["umount", folder], check=True)


# three files are there after the first save; a whole one more has room while a fourth is copied
@pytest.mark.parametrize(
    "files, failed", [(4.5, "checkpoint_last.pt"), *slow((3.5, "checkpoint_1_4.pt"))]
)
def test_full_disk(small_disk, classification, straight, files, failed):
    folder = small_disk.folder
    one = os.path.getsize(straight / "checkpoint_1_6.pt")
    small_disk(int(files * one))
    flags = toy.train_flags(classification, folder, *SAVES)
    assert_survives(
        folder, classification, straight, flags, lambda: small_disk(20 * one), failed=failed
    )


@pytest.mark.slow
def test_a_save_that_fails_ends_every_process(tmp_path, classification):
    """The first one saves; the others would wait for it."""
    flags = toy.train_flags(classification, tmp_path, *SAVES)
    results = toy.processes(2, "full_disk_train", flags, check=False)
    assert [code for code, _ in results] == [1, 1]
    first, other = (log.strip().splitlines()[-1] for _, log in results)
    path = tmp_path / "checkpoint_1_2.pt"
    assert first.startswith(f"OSError: checkpoint {path} could not be written (File too large)")
    assert other == first.replace("OSError: ", "ValueError: rank 0: ")


def test_copies_as_before_where_nothing_is_overwritten(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("new")
    assert PathManager.copy(str(source), str(target))
    assert target.read_text() == "new"
