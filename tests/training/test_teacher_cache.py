"""Teacher logits on disk: found only for the same sequences, complete or absent."""

import threading

import inprocess
import numpy as np
import pytest
import torch
import toy
from same_end import assert_same_end
from slow_cases import slow
from taught import BASE, another_token, contents, retrain, run, totals

from mixkd_plugin.teacher import build, disk_cache, logits


@pytest.fixture(scope="module", autouse=True)
def no_other_package():
    """Other tests of this process register models, whose code would count in a file's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "digests_of_code", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def cold(tmp_path_factory, classification, teacher):
    """A run that fills a cache; the cache is to be copied, not used."""
    folder = tmp_path_factory.mktemp("cold")
    run(classification, folder / "student", teacher, "--teacher-cache", folder / "cache")
    return folder


@pytest.fixture
def cache(cold, tmp_path):
    return toy.copy_data(cold / "cache", tmp_path / "cache")


def test_a_replayed_run_equals_the_one_that_filled_the_cache(
    tmp_path, classification, teacher, cold, cache, loads
):
    run(classification, tmp_path / "student", teacher, "--teacher-cache", cache)
    assert loads == []
    assert_same_end(cold / "student", tmp_path / "student")
    assert contents(cache) == contents(cold / "cache")
    assert len(contents(cache)) == 2 + 3  # clean rows of two splits, mixes of three epochs


def test_a_replayed_run_equals_one_without_a_cache_but_for_rounding(
    tmp_path, classification, teacher, cold
):
    run(classification, tmp_path, teacher)
    live, replayed = (inprocess.checkpoint(f)["model"] for f in (tmp_path, cold / "student"))
    torch.testing.assert_close(live, replayed, rtol=1e-3, atol=1e-4)


def test_another_student_of_the_sweep_needs_no_teacher(
    tmp_path, classification, teacher, cache, loads
):
    run(
        classification, tmp_path / "student", teacher, "--teacher-cache", cache, "--lr", 0.01,
        "--batch-size", 7, "--encoder-layers", 1, "--tmkd-weight", 0.3, "--batch-by-length", "off",
    )  # fmt: skip
    assert loads == []


LOADED = "parameters, torch.float32"  # the first process says so when a teacher is loaded


@pytest.mark.slow
def test_two_processes_fill_and_use_the_cache_of_one(
    tmp_path, classification, teacher, cold, cache
):
    flags = [*BASE, "--teacher-path", teacher]
    fill, use = (
        toy.train_flags(classification, tmp_path / name, *flags, "--teacher-cache", folder)
        for name, folder in (("fill", tmp_path / "new"), ("use", cache))
    )
    assert LOADED in "".join(toy.processes(2, "fairseq_cli.train", fill))
    assert contents(tmp_path / "new") == contents(cold / "cache")
    assert LOADED not in "".join(toy.processes(2, "fairseq_cli.train", use))
    assert_same_end(tmp_path / "fill", tmp_path / "use")


@pytest.mark.slow
def test_processes_share_the_teachers_batches(
    tmp_path, classification, teacher, asked, monkeypatch
):
    flags = [*BASE, "--teacher-path", teacher, "--max-epoch", 1]
    one, two = (
        toy.train_flags(classification, tmp_path / n, *flags, "--teacher-cache", tmp_path / n / "c")
        for n in ("one", "two")
    )
    toy.processes(2, "many_batches_train", two)
    monkeypatch.setattr(logits, "BATCH_TOKENS", 60)
    inprocess.run_training(one)
    assert len(asked) > 50 and totals(asked) == (101 + 37, 202)
    assert contents(tmp_path / "one" / "c") == contents(tmp_path / "two" / "c")


@pytest.mark.parametrize(
    "flags, new",
    [
        (["--mixup-kind", "splice"], 3),  # the mixes of three epochs
        (["--train-fraction", 0.5], 4),  # and the clean examples for training
        (["--teacher-dtype", "bfloat16"], 5),  # and for validation
        *slow(
            (["--mixup-seed", 7], 3),
            (["--mixup-alpha", 0.5], 3),
            (["--mixup-ratio", 1], 3),
            (["--padding-free", "off"], 5),
            (["--teacher-path", "BOTH", "--teacher-weights", "0.9:0.1"], 5),
            (["--separator-token", 2], 5),  # another layout, of pairs
        ),
    ],
    ids=str,
)
def test_other_mixes_or_settings_find_nothing(tmp_path, classification, teacher, cache, flags, new):
    before = contents(cache)
    flags = [f"{teacher}:{teacher}" if flag == "BOTH" else flag for flag in flags]
    run(classification, tmp_path / "student", teacher, "--teacher-cache", cache, *flags)
    after = contents(cache)
    assert before.items() < after.items() and len(after) == len(before) + new


def test_another_teacher_of_the_same_name_finds_nothing(
    tmp_path, classification, teacher, cold, cache, loads
):
    path = tmp_path / "teacher.pt"
    path.write_bytes(teacher.read_bytes())
    run(classification, tmp_path / "a", path, "--teacher-cache", cache)
    assert loads == []  # the same content under another name
    retrain(path)
    run(classification, tmp_path / "b", path, "--teacher-cache", cache)
    assert loads and len(contents(cache)) == 5 + 5


def test_other_texts_find_nothing(tmp_path, data, teacher, cache, loads):
    another_token(data)
    run(data, tmp_path / "student", teacher, "--teacher-cache", cache)
    assert loads and len(contents(cache)) == 5 + 4  # validation has its own text


@pytest.mark.parametrize("new_content", [b"another", *slow(None)])
def test_answers_of_a_teacher_whose_file_changes_are_kept_as_its_own(
    tmp_path, classification, teacher, cold, new_content
):
    path, cache = tmp_path / "teacher.pt", tmp_path / "cache"
    path.write_bytes(teacher.read_bytes())

    def change(*_):
        path.unlink(missing_ok=True)
        if new_content is not None:
            path.write_bytes(new_content)

    run(classification, tmp_path / "s", path, "--teacher-cache", cache, watcher=change)
    assert contents(cache) == contents(cold / "cache")


def test_a_teacher_that_is_loaded_late_must_be_the_one_of_the_start(
    tmp_path, classification, teacher, cache
):
    """The second epoch's answers are missing, and meanwhile the teacher was trained again."""
    path = tmp_path / "teacher.pt"
    path.write_bytes(teacher.read_bytes())

    def change(*_):
        path.write_bytes(b"another")
        for file in cache.iterdir():
            file.unlink()

    with pytest.raises(ValueError, match="--teacher-path: .*teacher.pt has changed since the run"):
        run(classification, tmp_path / "s", path, "--teacher-cache", cache, watcher=change)


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path, teacher, classification):
    outputs = np.random.RandomState(0).rand(20000, 2, 3).astype(np.float32)
    given = str(tmp_path), [teacher.name], {}, str(classification)
    caches = [disk_cache.LogitsCache(*given) for _ in range(8)]
    seen = []

    def write_and_read(cache):
        for _ in range(5):
            cache.store("train", "rows", outputs)
            seen.append(np.array_equal(cache.load("train", "rows", outputs.shape), outputs))

    threads = [threading.Thread(target=write_and_read, args=(c,)) for c in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 40 and len(contents(tmp_path)) == 1


def test_a_full_disk_does_not_end_the_run(tmp_path, classification, teacher, monkeypatch):
    def full(file, *_, **__):
        file.write(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_cache.np, "save", full)
    log = run(classification, tmp_path / "s", teacher, "--teacher-cache", tmp_path / "cache")
    assert "was not written ([Errno 28] No space left on device)" in log
    assert contents(tmp_path / "cache") == {}


def test_a_cache_folder_that_cannot_be(tmp_path, classification, teacher):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--teacher-cache must be a writable folder, got .*file"):
        run(classification, tmp_path / "s", teacher, "--teacher-cache", tmp_path / "file")


def test_a_cache_that_is_only_to_read(tmp_path, classification, teacher, cache, monkeypatch):
    """As that of another user."""

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk_cache.tempfile, "TemporaryFile", denied)
    before = contents(cache)
    log = run(classification, tmp_path / "s", teacher, "--teacher-cache", cache)
    assert "is only read" in log and "was not written" not in log and contents(cache) == before
    with pytest.raises(ValueError, match="--teacher-cache must be a writable folder"):
        run(classification, tmp_path / "t", teacher, "--teacher-cache", tmp_path)


def test_a_teacher_that_is_not_there_is_missed_at_once(tmp_path, classification, cache):
    with pytest.raises(ValueError, match="--teacher-path: .*gone.pt does not exist"):
        run(classification, tmp_path / "s", tmp_path / "gone.pt", "--teacher-cache", cache)
