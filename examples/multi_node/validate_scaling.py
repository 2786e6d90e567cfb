"""Compare the model of communication with two real processes on a link of limited bandwidth.

    sudo python examples/multi_node/validate_scaling.py OUT.json

Two network namespaces joined by a veth pair, limited with `tc qdisc tbf`, each with one process of
a real `fairseq-train` over gloo. Linux, root, iproute2. The model is told the step's time over the
unlimited link, and predicts it over the others.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile

from scaling_model import Link, all_reduce, exposed

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "benchmark"))

import arms  # noqa: E402
from data import draw_lengths, write_data  # noqa: E402
from processes import be_quiet, in_own_process  # noqa: E402

SPACES, UPDATES, BATCH = ("mixkd0", "mixkd1"), 8, 32
RATES = (400, 100)  # Mbit/s
PAYLOAD = 1448 / 1514  # of an Ethernet frame of TCP
HOP = 50e-6  # seconds; nothing beside the rest
BACKENDS = {
    "legacy_ddp": [],
    "pytorch_ddp": ["--find-unused-parameters"],
}


def ip(*arguments) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def linked_namespaces():
    """Two namespaces and the pair of devices between them."""
    with contextlib.ExitStack() as stack:
        for space in SPACES:
            ip("netns", "add", space)
            stack.callback(ip, "netns", "del", space)
        names = [f"{space}v" for space in SPACES]
        ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
        for rank, (space, name) in enumerate(zip(SPACES, names)):
            ip("link", "set", name, "netns", space)
            inside = ["-n", space]
            ip(*inside, "addr", "add", f"10.199.0.{rank + 1}/24", "dev", name)
            ip(*inside, "link", "set", name, "up")
            ip(*inside, "link", "set", "lo", "up")
        yield


def limit(rate) -> None:
    for space in SPACES:
        tc = ["ip", "netns", "exec", space, "tc", "qdisc"]
        subprocess.run([*tc, "del", "dev", f"{space}v", "root"], stderr=subprocess.DEVNULL)
        if rate is not None:
            tbf = ["tbf", "rate", f"{rate}mbit", "burst", "256kb", "latency", "100ms"]
            subprocess.run([*tc, "add", "dev", f"{space}v", "root", *tbf], check=True)


def train(settings: arms.Settings, backend: str, work: str) -> list:
    """What recorded_train.py wrote on both ranks."""
    processes = []
    for rank, space in enumerate(SPACES):
        flags = (
            f"""{settings.data} --user-dir {HERE}/../../mixkd_plugin --cpu
            --task mixkd_sentence_prediction --criterion mixkd --arch mixkd_minilm_3layer
            --teacher-path {settings.teacher} --teacher-dtype bfloat16 --num-classes 2
            --init-token 0 --optimizer adam --lr 1e-5 --batch-size {BATCH} --max-update {UPDATES}
            --disable-validation --no-save --log-format none --num-workers 0
            --distributed-world-size 2 --distributed-rank {rank} --device-id 0
            --distributed-init-method tcp://10.199.0.1:29511 --distributed-no-spawn
            --distributed-backend gloo --ddp-backend {backend}""".split()
            + BACKENDS[backend]
        )
        command = ["ip", "netns", "exec", space, sys.executable]
        command += [os.path.join(HERE, "recorded_train.py"), os.path.join(work, f"{rank}.json")]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": f"{space}v", "OMP_NUM_THREADS": "1"}
        log = open(os.path.join(work, f"{rank}.log"), "w")  # noqa: SIM115
        processes.append(
            subprocess.Popen([*command, *flags], env=environment, stdout=log, stderr=log)
        )
    for rank, process in enumerate(processes):
        if process.wait():
            with open(os.path.join(work, f"{rank}.log"), encoding="utf-8") as file:
                raise SystemExit(file.read()[-3000:])
    records = []
    for rank in range(2):
        with open(os.path.join(work, f"{rank}.json"), encoding="utf-8") as file:
            records.append(json.load(file))
    return records


def added(collectives: list, window: float, backend: str, rate: int) -> float:
    """Seconds that a limit adds to a step, by the model."""
    over = Link(rate * 1e6 / 8 * PAYLOAD, HOP)
    width = {"float": 4, "double": 8, "int": 4}
    sizes = [elements * width[dtype] for _, elements, dtype in collectives]
    large = [size for size in sizes if size > 1e6]
    small = sum(all_reduce(size, 2, over) for size in sizes if size <= 1e6)
    if backend == "legacy_ddp":
        return small + all_reduce(*large, 2, over)
    return small + exposed(large, window, 2, over)


def summarise(records: list, backend: str) -> dict:
    """Medians over updates but the first.

    A step is the slower rank's; communication the rank's that came last to it, and waited least.
    """
    part = {"legacy_ddp": "reduce", "pytorch_ddp": "backward"}[backend]  # where gradients are sent
    steps = [max(pair) for pair in zip(*(r["seconds"] for r in records))][1:]
    sending = [min(pair) for pair in zip(*(r[part] for r in records))][1:]
    return {
        "step": statistics.median(steps),
        "sending": statistics.median(sending),
        "sending_span": [min(sending), max(sending)],
        "collectives": records[0]["collectives"],
    }


def main() -> None:
    be_quiet()
    results = {}
    with tempfile.TemporaryDirectory() as work, linked_namespaces():
        settings = arms.Settings(arms.SHAPES["minilm"], work, BATCH, seed=1, cuda=False)
        lengths = draw_lengths("sst2", 2 * BATCH * UPDATES, settings.seed)
        write_data(settings.data, lengths, settings.shape.vocabulary, settings.seed)
        in_own_process(arms.save_teacher, settings)
        for backend in BACKENDS:
            free = None
            for rate in (None, *RATES):
                limit(rate)
                found = summarise(train(settings, backend, work), backend)
                free = free or found
                if rate is not None:
                    more = added(found["collectives"], free["sending"], backend, rate)
                    for what in ("step", "sending"):
                        found[f"predicted_{what}"] = free[what] + more
                limited = "no limit" if rate is None else f"{rate} Mbit/s"
                results[f"{backend}, {limited}"] = found
                print(list(results)[-1], found, flush=True)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
