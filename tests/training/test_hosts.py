"""Two hosts: network namespaces on one machine, each with a host name of its own."""

import contextlib
import os
import shutil
import subprocess
import sys

import inprocess
import pytest
import toy
from ranks import errors, flags_of
from same_end import assert_same_weights
from taught import retrain

NAMES = tuple(f"mixkd{os.getpid()}-{i}" for i in range(2))
DEVICES = tuple(f"mk{os.getpid()}-{i}" for i in range(2))  # 15 characters at most
ADDRESS = "10.203.7.{}"


def ip(*arguments, check=True):
    command = ["ip", *map(str, arguments)]
    subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def hosts():
    """Run commands on two hosts that reach each other by one link; see ``on_hosts``."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        pytest.skip("needs root, ip, unshare and hostname")
    with contextlib.ExitStack() as stack:
        try:
            for name in NAMES:
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
            ip("link", "add", DEVICES[0], "netns", NAMES[0], "type", "veth",
               "peer", "name", DEVICES[1], "netns", NAMES[1])  # fmt: skip
            for i, (name, device) in enumerate(zip(NAMES, DEVICES)):
                ip("-n", name, "addr", "add", f"{ADDRESS.format(i + 1)}/24", "dev", device)
                ip("-n", name, "link", "set", device, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield


def on_host(i, disk, command):
    """The command line that runs another on host ``i``.

    ``disk`` is (folder, where the host has it): a local disk, at the same path on every host.
    """
    inside = f'mount --bind "$0" "$1" && hostname host{i} && shift && exec "$@"'
    return [
        "ip", "netns", "exec", NAMES[i], "unshare", "--uts", "sh", "-c", inside, *disk,
        "env", f"GLOO_SOCKET_IFNAME={DEVICES[i]}", *command,
    ]  # fmt: skip


def run_on_hosts(tmp_path, flags, ranks_of_hosts):
    """``fairseq-train FLAGS`` as so many processes on each host: (exit code, output) of each.

    ``tmp_path/hostN`` is what host N has as ``tmp_path/local``.
    """
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(toy.ROOT / "tests" / "helpers"), str(toy.ROOT)]
    )
    (tmp_path / "local").mkdir(exist_ok=True)
    address = f"tcp://{ADDRESS.format(1)}:29511"
    with contextlib.ExitStack() as stack:
        started = []
        for i, count in enumerate(ranks_of_hosts):
            for _ in range(count):
                together = toy.joined(address, sum(ranks_of_hosts), len(started))
                command = [sys.executable, "-m", "fairseq_cli.train", *flags, *together]
                command += ["--ddp-backend", "legacy_ddp"]
                command = on_host(i, (tmp_path / f"host{i}", tmp_path / "local"), command)
                process = subprocess.Popen(
                    list(map(str, command)), env=environment, text=True, cwd=toy.ROOT,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip
                stack.callback(process.kill)
                started.append(process)
        logs = [process.communicate(timeout=240)[0] for process in started]
    return [(process.returncode, log) for process, log in zip(started, logs)]


def local_disks(tmp_path, teachers):
    """A disk for each host, with its teacher, or None."""
    for i, teacher in enumerate(teachers):
        (tmp_path / f"host{i}").mkdir()
        if teacher is not None:
            shutil.copy(teacher, tmp_path / f"host{i}" / "teacher.pt")
    return tmp_path / "local" / "teacher.pt"


@pytest.mark.slow
@pytest.mark.parametrize("read_by, ranks", [("run", (1, 1)), ("host", (2, 2))])
def test_two_hosts_end_like_one_process(tmp_path, hosts, classification, teacher, read_by, ranks):
    """With ``run`` the second host does not have the teacher's file at all."""
    inprocess.run_training(flags_of(classification, tmp_path / "one", teacher, 1))
    path = local_disks(tmp_path, [teacher, teacher if read_by == "host" else None])
    flags = flags_of(classification, tmp_path / "two", path, sum(ranks))
    results = run_on_hosts(tmp_path, [*flags, "--teacher-read-by", read_by], ranks)
    for code, log in results:
        assert code == 0, log[-3000:]
    assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("read_by, lacks", [("run", 0), ("host", 1)])
def test_no_teacher_where_it_is_read(tmp_path, hosts, classification, teacher, read_by, lacks):
    path = local_disks(tmp_path, [None if i == lacks else teacher for i in range(2)])
    flags = flags_of(classification, tmp_path / "s", path, 2, "--teacher-read-by", read_by)
    said = errors(*run_on_hosts(tmp_path, flags, (1, 1)))
    assert said[lacks] == f"--teacher-path: {path} does not exist"
    assert said[1 - lacks] == f"rank {lacks}: {said[lacks]}"


@pytest.mark.slow
def test_another_teacher_on_the_second_host(tmp_path, hosts, classification, teacher):
    retrain(shutil.copy(teacher, tmp_path / "other.pt"))
    path = local_disks(tmp_path, [teacher, tmp_path / "other.pt"])
    flags = flags_of(classification, tmp_path / "s", path, 2, "--teacher-read-by", "host")
    for said in errors(*run_on_hosts(tmp_path, flags, (1, 1))):
        assert said.startswith(f"the content of --teacher-path {path} must be the same on every")
    flags = flags_of(classification, tmp_path / "s", teacher, 2, "--student-init-path", path)
    for said in errors(*run_on_hosts(tmp_path, flags, (1, 1))):
        assert said.startswith(f"the content of --student-init-path {path} must be the same on")
