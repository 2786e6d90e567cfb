"""The teacher's answers: asked for once, looked up by example, the same wherever they come from."""

import threading

import inprocess
import numpy as np
import pytest
import torch
import toy
from test_plan_invariance import assert_same_end

from mixkd_plugin import output_cache, teacher_outputs
from mixkd_plugin.mixup import Mix
from mixkd_plugin.teacher import Teacher

BASE = ["--kd-weight", 1, "--max-epoch", 3, "--mixup-ratio", 2]


@pytest.fixture
def asked(monkeypatch):
    """(clean, mixed) rows of every call to a teacher."""
    calls = []
    logits = Teacher.logits

    def counted(self, tokens, mix=None, with_clean=True):
        mixed = 0 if mix is None else len(mix.lam)
        calls.append((len(tokens) if with_clean or mix is None else 0, mixed))
        return logits(self, tokens, mix, with_clean)

    monkeypatch.setattr(Teacher, "logits", counted)
    return calls


@pytest.fixture
def loads(monkeypatch):
    """A list that grows with every teacher that is loaded."""
    loaded = []
    load = teacher_outputs.load_teacher

    def noted(*args):
        loaded.append(args[0])
        return load(*args)

    monkeypatch.setattr(teacher_outputs, "load_teacher", noted)
    return loaded


def run(data, folder, teacher, *flags, watcher=lambda *_: None):
    flags = toy.train_flags(data, folder, *BASE, "--teacher-path", teacher, *flags)
    return inprocess.run_training(flags, watcher)


def totals(asked):
    return tuple(sum(column) for column in zip(*asked))


@pytest.mark.parametrize(
    "flags, mixed",
    [
        (["--tmkd-weight", 0], 0),
        (["--tmkd-weight", 1], 101 * 2 * 3),
        (["--tmkd-weight", 1, "--mixup-period", 1], 101 * 2),
        (["--tmkd-weight", 1, "--mixup-period", 2], 101 * 2 * 2),
    ],
    ids=str,
)
def test_nothing_is_asked_twice(tmp_path, classification, teacher, asked, flags, mixed):
    """101 examples for training and 37 for validation, three epochs."""
    run(classification, tmp_path, teacher, *flags)
    assert totals(asked) == (101 + 37, mixed)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--mixup-period", 2],
        ["--mixup-period", 1, "--train-fraction", 0.5, "--update-freq", 2],
        ["--teacher-cache", "CACHE", "--mixup-pairing", "length"],
        ["--teacher-cache", "CACHE", "--batch-by-length", "off", "--num-workers", 2],
        ["--mixup-period", 2, "--padding-free", "off", "--max-positions", 9],  # some are too long
    ],
    ids=lambda flags: " ".join(map(str, flags)) or "plain",
)
def test_what_is_looked_up_is_what_the_teacher_says_to_these_rows(
    tmp_path, classification, teacher, flags
):
    compared = []

    def compare(trainer, batches):
        outputs = trainer.task.teacher_outputs
        for batch in batches:
            tokens = batch["net_input"]["src_tokens"]
            mix = Mix(batch["partner"]["net_input"]["src_tokens"], batch["lam"])
            clean, mixed = outputs.logits(batch, mix, clean=True, mixed=True)
            expected = outputs.load().logits(tokens, mix)
            torch.testing.assert_close(torch.cat([clean, mixed]), expected, rtol=1e-4, atol=1e-5)
            compared.extend(batch["id"].tolist())

    flags = [tmp_path / "cache" if flag == "CACHE" else flag for flag in flags]
    if "--max-positions" in flags:
        flags += ["--arch", "mixkd_tiny", "--skip-invalid-size-inputs-valid-test"]
    run(classification, tmp_path / "student", teacher, *flags, watcher=compare)
    assert len(compared) == 3 * len(set(compared)) and len(set(compared)) >= 50


def test_mixes_return_after_the_period(tmp_path, classification, teacher):
    epochs = {}

    def note(trainer, batches):
        for batch in batches:
            rows = zip(
                batch["id"].tolist() * 2, batch["partner"]["id"].tolist(), batch["lam"].tolist()
            )
            epochs.setdefault(trainer.epoch_begun, set()).update(rows)

    run(classification, tmp_path, teacher, "--mixup-period", 2, watcher=note)
    assert epochs[3] == epochs[1] != epochs[2]


def test_a_run_shorter_than_an_epoch_asks_for_no_more_than_it_uses(
    tmp_path, classification, teacher, asked
):
    flags = ["--max-update", 2, "--update-freq", 2, "--batch-size", 10, "--disable-validation"]
    run(classification, tmp_path, teacher, *flags)
    clean, mixed = totals(asked)
    assert mixed == 2 * clean and clean in range(36, 41)


@pytest.mark.parametrize("flags", [["--mixup-period", 2], ["--teacher-cache", "CACHE"]], ids=str)
def test_a_run_resumed_in_a_later_epoch_is_the_straight_run(
    tmp_path, classification, teacher, flags
):
    """Validation on the training split makes an iterator over it, too, of epoch 1."""
    flags = ["--valid-subset", "valid,train", "--save-interval-updates", 3, *flags]

    def of(name, *extra):
        own = [tmp_path / name / "cache" if flag == "CACHE" else flag for flag in flags]
        run(classification, tmp_path / name, teacher, *own, *extra)

    of("whole")
    of("parts", "--max-update", 10)  # in the second epoch
    of("parts")
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_validation_on_training_examples_that_were_too_long_to_train_on(
    tmp_path, classification, teacher, asked
):
    flags = ["--max-tokens", 10, "--max-tokens-valid", 400, "--valid-subset", "valid,train"]
    log = run(classification, tmp_path, teacher, *flags, "--max-epoch", 1)
    assert totals(asked)[0] == 101 + 37
    values = [toy.last_values(log, kind) for kind in ("valid", "train")]
    assert all(np.isfinite(v["kd_loss"]) and "agreement" in v for v in values)


# --- on disk ---


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    for name, parameter in live.items():
        torch.testing.assert_close(parameter, replayed[name], rtol=1e-3, atol=1e-4)


def test_another_student_of_the_sweep_needs_no_teacher(
    tmp_path, classification, teacher, cache, loads
):
    run(
        classification, tmp_path / "student", teacher, "--teacher-cache", cache, "--lr", 0.01,
        "--batch-size", 7, "--encoder-layers", 1, "--tmkd-weight", 0.3, "--batch-by-length", "off",
    )  # fmt: skip
    assert loads == []


LOADED = "parameters, torch.float32"  # the first process says so when a teacher is loaded


def test_two_processes_fill_and_use_the_cache_of_one(
    tmp_path, classification, teacher, cold, cache
):
    flags = [*BASE, "--teacher-path", teacher]
    fill, use = (
        toy.train_flags(classification, tmp_path / name, *flags, "--teacher-cache", folder)
        for name, folder in (("fill", tmp_path / "new"), ("use", cache))
    )
    assert LOADED in "".join(toy.two_processes("fairseq_cli.train", fill))
    assert contents(tmp_path / "new") == contents(cold / "cache")
    assert LOADED not in "".join(toy.two_processes("fairseq_cli.train", use))
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
    toy.two_processes("many_batches_train", two)
    monkeypatch.setattr(teacher_outputs, "BATCH_TOKENS", 60)
    inprocess.run_training(one)
    assert len(asked) > 50 and totals(asked) == (101 + 37, 202)
    assert contents(tmp_path / "one" / "c") == contents(tmp_path / "two" / "c")


@pytest.mark.parametrize(
    "flags, new",
    [
        (["--mixup-seed", 7], 3),  # the mixes of three epochs
        (["--mixup-alpha", 0.5], 3),
        (["--mixup-ratio", 1], 3),
        (["--train-fraction", 0.5], 4),  # and the clean examples for training
        (["--teacher-dtype", "bfloat16"], 5),  # and for validation
        (["--padding-free", "off"], 5),
        (["--teacher-path", "BOTH", "--teacher-weights", "0.9:0.1"], 5),
        (["--init-token", 2], 5),
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
    state = torch.load(path, map_location="cpu")
    state["model"]["classification_heads.sentence_classification_head.out_proj.bias"] += 1
    torch.save(state, path)
    run(classification, tmp_path / "b", path, "--teacher-cache", cache)
    assert loads and len(contents(cache)) == 5 + 5


def test_other_texts_find_nothing(tmp_path, classification, teacher, cache, loads):
    data = toy.copy_data(classification, tmp_path / "data")
    tokens = data / "input0" / "train.bin"
    changed = np.fromfile(tokens, dtype=np.uint16)
    changed[0] = 4 + (changed[0] - 3) % 40
    changed.tofile(tokens)
    run(data, tmp_path / "student", teacher, "--teacher-cache", cache)
    assert loads and len(contents(cache)) == 5 + 4  # validation has its own text


@pytest.mark.parametrize("new_content", [b"another", None])
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


@pytest.mark.parametrize("left", [0, 50, 300])
def test_a_file_that_was_cut_off_is_computed_anew(
    tmp_path, classification, teacher, cold, cache, left
):
    whole = contents(cache)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:left])
    log = run(classification, tmp_path / "student", teacher, "--teacher-cache", cache)
    assert log.count("is computed anew") == 5
    assert contents(cache) == whole
    assert_same_end(cold / "student", tmp_path / "student")


def make_cache(folder, teacher, data):
    return output_cache.OutputCache(str(folder), [str(teacher)], {}, str(data))


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path, teacher, classification):
    outputs = np.random.RandomState(0).rand(20000, 2, 3).astype(np.float32)
    caches = [make_cache(tmp_path, teacher, classification) for _ in range(8)]
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

    monkeypatch.setattr(output_cache.np, "save", full)
    log = run(classification, tmp_path / "s", teacher, "--teacher-cache", tmp_path / "cache")
    assert "was not written ([Errno 28] No space left on device)" in log
    assert contents(tmp_path / "cache") == {}


def test_a_cache_folder_that_cannot_be(tmp_path, classification, teacher):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--teacher-cache .*file.*: a folder that can be written"):
        run(classification, tmp_path / "s", teacher, "--teacher-cache", tmp_path / "file")


def test_a_teacher_that_is_not_there_is_missed_at_once(tmp_path, classification, cache):
    with pytest.raises(ValueError, match="--teacher-path: .*gone.pt does not exist"):
        run(classification, tmp_path / "s", tmp_path / "gone.pt", "--teacher-cache", cache)


# --- what cannot be kept ---


def test_an_answer_that_is_no_number_is_named(tmp_path, classification, teacher, monkeypatch):
    logits = Teacher.logits

    def overflowing(self, *args, **kwargs):
        answers = logits(self, *args, **kwargs)
        answers[1] = np.inf
        return answers

    monkeypatch.setattr(Teacher, "logits", overflowing)
    with pytest.raises(ValueError, match=r"--teacher-path: .*example \d+ of split 'train'.*dtype"):
        run(classification, tmp_path, teacher)


def test_texts_that_are_cropped_at_random_are_asked_about_anew(
    tmp_path, classification, teacher, asked
):
    crop = ["--shorten-method", "random_crop", "--max-positions", 8, "--mixup-period", 1]
    run(classification, tmp_path, teacher, *crop)
    assert totals(asked)[1] == 101 * 2 * 3
    with pytest.raises(ValueError, match="--teacher-cache .*random_crop"):
        run(classification, tmp_path, teacher, *crop, "--teacher-cache", tmp_path / "cache")
