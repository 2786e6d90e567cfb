"""A run resumes from its last checkpoint, or says what is wrong with it."""

import re
import shutil

import fairseq_cli.train
import inprocess
import pytest
import torch
import toy
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from ranks import errors
from same_end import assert_same_end

from mixkd_plugin.checkpoints import recovery

FLAGS = [
    "--tmkd-weight", 0, "--dropout", 0.2, "--max-epoch", 2, "--save-interval-updates", 3,
    "--keep-last-epochs", 1,
]  # fmt: skip


@pytest.fixture(scope="module")
def straight(tmp_path_factory, classification):
    folder = tmp_path_factory.mktemp("straight")
    inprocess.run_training(flags(classification, folder))
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, classification):
    """The same run up to 10 updates: saved at 3, 6, 7 (the end of the epoch) and 9."""
    folder = tmp_path_factory.mktemp("stopped")
    inprocess.run_until(10, flags(classification, folder))
    return folder


@pytest.fixture
def folder(tmp_path, stopped):
    return toy.copy_data(stopped, tmp_path / "run")


def flags(data, folder, *extra):
    given = toy.train_flags(data, folder, *FLAGS, *extra)
    return [flag for flag in given if flag != "--no-epoch-checkpoints"]


def cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def find(folder, suffix="", **flags):
    return recovery.find(CheckpointConfig(save_dir=str(folder), **flags), suffix)


def damage(folder):
    """What is said of a damaged last checkpoint; all files stay as they are."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError) as error:
        find(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return str(error.value)


def resumed_from(log):
    """(file, updates) that fairseq says it took up."""
    (line,) = [line for line in log.splitlines() if "Loaded checkpoint" in line]
    return line.split("Loaded checkpoint ")[1].split()[0], int(line.split("@ ")[1].split()[0])


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_cut_last_checkpoint_is_named_with_the_one_to_go_on_from(folder, share):
    last = cut(folder / "checkpoint_last.pt", share)
    for name in ("checkpoint_1_6.pt", "checkpoint_2_9.pt"):  # leaves 3 and 7
        (folder / name).unlink()
    (folder / "checkpoint_best.pt").unlink()
    text = damage(folder)
    assert text.startswith(f"--save-dir: {last} is ")
    assert f"--restore-file {folder / 'checkpoint1.pt'}" in text


def test_the_named_checkpoint_goes_on_to_the_same_end(folder, classification, straight):
    cut(folder / "checkpoint_last.pt")
    (folder / "checkpoint_best.pt").unlink()
    with pytest.raises(ValueError) as error:
        inprocess.start_training(flags(classification, folder))
    (path,) = re.findall(r"--restore-file (\S+)", str(error.value))
    log = inprocess.run_training(flags(classification, folder, "--restore-file", path))
    assert resumed_from(log) == (str(folder / "checkpoint_2_9.pt"), 9)
    assert_same_end(straight, folder)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_last_checkpoint_with_a_hole_is_damaged(folder, share):
    """Of the right length, and it may even load."""
    path = folder / "checkpoint_last.pt"
    content = bytearray(path.read_bytes())
    at = int(share * len(content))
    content[at : at + 2000] = bytes(2000)
    path.write_bytes(content)
    assert str(path) in damage(folder)


def test_the_newest_one_is_named_among_those_that_can_be_resumed_from(folder):
    cut(folder / "checkpoint_last.pt")
    cut(folder / "checkpoint_2_9.pt")
    cut(folder / "checkpoint_best.pt")
    state = inprocess.checkpoint(folder, "checkpoint1.pt")
    del state["last_optimizer_state"]
    torch.save(state, folder / "checkpoint1.pt")
    torch.save(state, folder / "not_one_of_fairseq.pt")
    assert f"--restore-file {folder / 'checkpoint_1_6.pt'} " in damage(folder)


def test_only_damaged_ones(folder):
    for path in folder.glob("*.pt"):
        cut(path)
    text = damage(folder)
    assert text.startswith(f"--save-dir: {folder / 'checkpoint_last.pt'} is damaged")
    assert "no other one there is complete" in text and "move it away" in text


def test_damaged_restore_file(folder, classification):
    """What was asked for by name is not exchanged for another."""
    path = cut(folder / "checkpoint_2_9.pt")
    with pytest.raises(ValueError, match=f"--restore-file: {path} is damaged.*name another"):
        inprocess.start_training(flags(classification, folder, "--restore-file", path))


def test_a_restore_file_elsewhere_is_what_counts(folder, classification):
    """A damaged last checkpoint that nothing reads is left alone."""
    cut(folder / "checkpoint_last.pt")
    path = folder / "checkpoint_1_6.pt"
    log = inprocess.run_training(
        flags(classification, folder, "--restore-file", path, "--max-update", 7, "--no-save")
    )
    assert resumed_from(log) == (str(path), 6)


def test_finetuning_begins_only_where_nothing_is_to_resume(folder, classification, tmp_path):
    """A new run is one; a damaged last checkpoint is an interrupted one."""
    base = ["--finetune-from-model", folder / "checkpoint1.pt", "--max-update", 2]
    new = tmp_path / "new"
    log = inprocess.run_training(flags(classification, new, *base))
    assert resumed_from(log)[0] == str(folder / "checkpoint1.pt")
    cut(folder / "checkpoint_last.pt")
    with pytest.raises(ValueError, match="--save-dir: .* is damaged"):
        inprocess.start_training(flags(classification, folder, *base))


def test_new_runs_and_other_names(folder, tmp_path):
    assert find(tmp_path / "nothing") is None
    assert "fingerprint" in find(folder).task_state
    assert "fingerprint" in find("", restore_file=str(folder / "checkpoint1.pt")).task_state
    # a part of a run, under a name of its own, is taken for that part's alone
    part = folder / "checkpoint_2_9.pt"  # fairseq adds the suffix of --checkpoint-suffix
    shutil.move(part, folder / "checkpoint_2_9-part1.pt")
    cut(folder / "checkpoint_last.pt")
    assert find(folder, "-part1") is None
    shutil.copy(folder / "checkpoint_last.pt", folder / "checkpoint_last-part1.pt")
    with pytest.raises(ValueError, match=f"--restore-file {part} "):
        find(folder, "-part1")


def test_what_is_no_damage_is_not_called_so(folder, monkeypatch):
    """A disk that does not answer, or a file that wants to run code."""
    with monkeypatch.context() as patch:

        def fails(*args, **kwargs):
            raise OSError(5, "Input/output error")

        patch.setattr(torch, "load", fails)
        with pytest.raises(ValueError, match="cannot be read .*Input/output error.*\\)$"):
            find(folder)
    torch.save({"model": {}, "cfg": {}, "x": shutil.rmtree}, folder / "checkpoint_last.pt")
    with pytest.raises(ValueError, match="is refused: it would load shutil.rmtree") as error:
        find(folder)
    assert "--restore-file" not in str(error.value)


def test_validating_and_loading_look_at_no_save_dir(folder, classification):
    cut(folder / "checkpoint_last.pt")
    before = {path.name for path in folder.iterdir()}
    flags = toy.validate_flags(classification, folder / "checkpoint1.pt", "--batch-size", 16)
    inprocess.validate(*flags)
    assert {path.name for path in folder.iterdir()} == before


def test_a_finished_run_does_no_more_updates(tmp_path, classification):
    """It may have been killed between its last save and its exit."""
    run = flags(classification, tmp_path, "--max-update", 5)
    inprocess.run_training(run)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    log = inprocess.run_training(run)
    assert "--max-update 5 was reached: the run is finished" in log
    assert "done training" in log  # a sweep goes on with its next run
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


def test_without_the_optimizers_state_nothing_is_written_over(tmp_path, classification):
    """fairseq would begin at update 0, in the middle of the data; finished runs stay finished."""
    run = [*flags(classification, tmp_path), "--no-save-optimizer-state"]
    inprocess.run_training([*run, "--max-update", 5])
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    log = inprocess.run_training([*run, "--max-update", 5])
    assert "--max-update 5 was reached: the run is finished" in log
    with pytest.raises(ValueError, match=r"checkpoint_last.pt \(5 updates\) has no optimizer's"):
        inprocess.run_training([*run, "--max-update", 8])
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before
    reset = ["--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler"]
    inprocess.run_training([*run, "--max-update", 8, *reset])
    assert inprocess.updates(tmp_path) == 8


def test_runs_of_one_process_have_best_scores_of_their_own(tmp_path, classification):
    """A sweep by hydra's launcher; fairseq keeps them on its functions."""
    checkpoint_utils.save_checkpoint.best = -1.0  # no loss is that good
    fairseq_cli.train.should_stop_early.best = -1.0
    fairseq_cli.train.should_stop_early.num_runs = 5
    log = inprocess.run_training(flags(classification, tmp_path, "--patience", 6))
    state = inprocess.checkpoint(tmp_path, "checkpoint_best.pt")
    assert state["extra_state"]["best"] > 0 and "early stop" not in log


@pytest.mark.slow
def test_two_processes_that_find_a_damaged_last_one(tmp_path, classification):
    run = [*flags(classification, tmp_path / "cut"), "--batch-size", 8]
    toy.processes(2, "fairseq_cli.train", run)
    toy.copy_data(tmp_path / "cut", tmp_path / "straight")
    cut(tmp_path / "cut" / "checkpoint_last.pt")
    (tmp_path / "cut" / "checkpoint_best.pt").unlink()
    for name in ("checkpoint2.pt", "checkpoint_2_12.pt"):
        (tmp_path / "cut" / name).unlink()
    said = errors(*toy.processes(2, "fairseq_cli.train", run, check=False))
    path = tmp_path / "cut" / "checkpoint_2_9.pt"
    assert f"--restore-file {path} " in said[0] and said[1] == f"rank 0: {said[0]}"
    logs = toy.processes(2, "fairseq_cli.train", [*run, "--restore-file", path])
    assert resumed_from(logs[0])[1] == 9
    assert_same_end(tmp_path / "straight", tmp_path / "cut")
