"""The multi-node recipes: dry runs of two processes on this machine, and what Slurm would do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import inprocess
import pytest
import toy
from fairseq.distributed.utils import infer_init_method
from hydra_recipes import SMALL, composed, overrides
from omegaconf import OmegaConf

FOLDER = toy.ROOT / "examples" / "many_gpus"
SMALL_MODEL = overrides({k: v for k, v in SMALL.items() if not k.startswith("common.")})


def environment(**values) -> dict:
    """That of a script which finds fairseq, and here does with two processes on a CPU."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    threads = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    values = {"DRY_RUN": "cpu", "PER_NODE": 2, "MASTER_PORT": toy.free_port(), **values}
    texts = {name: str(value) for name, value in values.items()}
    return {**os.environ, **threads, "PATH": path, **texts}


def dry_run(script: str, out: Path, data: Path, teacher: Path, *arguments, **values) -> dict:
    """Run it; the checkpoint of the student, after 4 updates by both processes."""
    done = subprocess.run(
        ["bash", FOLDER / script, data, teacher, out, *SMALL_MODEL, *arguments],
        env=environment(**values), cwd=toy.ROOT, timeout=300, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    (folder,) = {path.parent for path in out.rglob("checkpoint_last.pt")}
    stored = OmegaConf.load(folder / ".hydra" / "config.yaml")
    state = inprocess.checkpoint(folder)
    assert stored.distributed_training.distributed_world_size == 2
    assert state["cfg"]["distributed_training"]["distributed_world_size"] == 2
    assert state["optimizer_history"][-1]["num_updates"] == 4
    assert "training on 2 devices" in (folder / "hydra_train.log").read_text(encoding="utf-8")
    return state


@pytest.mark.slow
def test_torchrun(tmp_path, classification, teacher):
    dry_run("torchrun.sh", tmp_path / "out", classification, teacher)


@pytest.mark.slow
def test_submitit(tmp_path, classification, teacher):
    port = str(toy.free_port())  # the job's number, 0, is put behind it
    dry_run("submitit.sh", tmp_path / "out", classification, teacher, PORT=port[:-1])


@pytest.fixture
def slurm(tmp_path):
    """A folder with an `srun` and a `scontrol` that do what those do, for one node of two tasks."""
    tools = {
        "srun": """[ "$1" = --kill-on-bad-exit=1 ] && shift
            for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NTASKS=2 "$@" & done
            wait -n && wait -n || { status=$?; kill $(jobs -p); exit $status; }""",
        "scontrol": f"""echo "$@" >> {tmp_path}/scontrol.log
            if [ "$1" = show ]; then echo localhost; fi""",
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return dict(
        PATH=f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}", SLURM_JOB_ID=7,
        SLURM_JOB_NODELIST="node[0-3]", SLURM_SUBMIT_DIR=toy.ROOT,
    )  # fmt: skip


@pytest.mark.slow
def test_slurm(tmp_path, classification, teacher, slurm):
    dry_run("slurm.sbatch", tmp_path / "out", classification, teacher, **slurm)
    assert (tmp_path / "scontrol.log").read_text() == "show hostnames node[0-3]\n"


def test_slurm_fails_where_a_process_failed(tmp_path, slurm):
    (tmp_path / "srun").write_text("#!/usr/bin/env bash\nexit 3\n")
    command = ["bash", FOLDER / "slurm.sbatch", "data", "teacher", "out"]
    assert subprocess.run(command, env=environment(**slurm), timeout=60).returncode == 1


def test_slurm_queues_again_when_its_time_is_nearly_up(tmp_path, slurm):
    (tmp_path / "srun").write_text("#!/usr/bin/env bash\necho started; exec sleep 60\n")
    job = subprocess.Popen(
        ["bash", FOLDER / "slurm.sbatch", "data", "teacher", "out"],
        env=environment(**slurm), stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert job.stdout.readline() == "started\n"
        job.send_signal(signal.SIGUSR1)
        log, deadline = tmp_path / "scontrol.log", time.monotonic() + 30
        while "requeue 7\n" not in log.read_text():
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.1)
        assert job.poll() is None  # until Slurm ends it
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def test_fairseq_infers_its_place_from_slurm_in_a_job_of_submitit(tmp_path, monkeypatch, slurm):
    """What submitit.sh leaves to fairseq: 4 nodes of 8, this is the sixth process of the third."""
    places = {"SLURM_NNODES": 4, "SLURM_NTASKS_PER_NODE": 8, "SLURM_PROCID": 21, "SLURM_LOCALID": 5}
    for name, value in {**slurm, **places}.items():
        monkeypatch.setenv(name, str(value))
    devices = []
    monkeypatch.setattr("torch.cuda.set_device", devices.append)
    run = composed(
        "distil_roberta_large",
        "distributed_training.distributed_world_size=32",
        "distributed_training.distributed_port=3007",
    ).distributed_training
    infer_init_method(run)
    assert run.distributed_init_method == "tcp://localhost:3007"
    assert (run.distributed_rank, run.distributed_world_size) == (21, 32)
    assert run.distributed_no_spawn and devices == [5]
