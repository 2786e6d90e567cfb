"""Short runs in half precision and fully sharded, against the losses of float32: DEVICE RECORD.

Exits with 1 where a run fails or where its losses are not those of float32.
"""

import json
import re
import statistics
import sys
import tempfile
from pathlib import Path

import toy

EPOCHS = {"cpu": 2, "cuda": 10}
LAST = 8  # updates at the end, whose mean is compared
BOUND = 0.05  # of that mean, relative
RUNS = {
    "float32": [],
    "fp16": ["--fp16"],
    "bf16": ["--bf16"],
    "amp": ["--amp"],
    "fully sharded": ["--ddp-backend", "fully_sharded"],
}


def flags_of(name: str, data: Path, folder: Path, device: str, extra) -> list:
    flags = toy.train_flags(
        data, folder, *RUNS[name], "--dropout", 0, "--attention-dropout", 0, "--no-save",
        "--max-epoch", EPOCHS[device], *extra,
    )  # fmt: skip
    if device == "cpu":
        flags += ["--fp16-no-flatten-grads"] if name == "fp16" else []
    else:
        flags.remove("--cpu")
    if name == "fully sharded":  # a group of one process
        backend = "gloo" if device == "cpu" else "nccl"
        flags += toy.joined(f"tcp://127.0.0.1:{toy.free_port()}", 1, 0, backend)
    return flags


def losses(log: str) -> list:
    """Of each update that was logged: one that overflows in fp16 is not."""
    lines = [line for line in log.splitlines() if "| train_inner |" in line]
    return [float(value) for line in lines for value in re.findall(r"[ ,]loss=([^,]+)", line)]


def main(device: str, record: Path) -> int:
    work = Path(tempfile.mkdtemp(prefix="curves"))
    data = toy.make_data(work / "data", {"train": 101, "valid": 37})
    flags = toy.train_flags(data, work / "teacher", *toy.TEACHER, task="sentence_prediction")
    toy.run_module("fairseq_cli.train", *flags)
    distil = ["--kd-weight", 1, "--teacher-path", work / "teacher" / "checkpoint_last.pt"]
    rows, failed = [], []
    for name in RUNS:
        on_cpu = name == "fully sharded" and device == "cpu"
        module = "fully_sharded_train" if on_cpu else "fairseq_cli.train"
        flags = flags_of(name, data, work / "student", device, distil)
        done = toy.run_module(module, *flags, check=False)
        curve = losses(done.stdout)
        is_sharded = "FullyShardedDataParallel" in done.stdout
        if done.returncode != 0 or not curve or is_sharded != (name == "fully sharded"):
            failed.append(name)
            print(f"{name}: exit code {done.returncode}\n{done.stdout[-3000:]}")
            if name == "float32":  # nothing to compare with
                break
            continue
        if name == "float32":
            expected = curve
        skipped = len(expected) - len(curve)  # updates that a loss scale was too high for
        end, end32 = (statistics.mean(values[-LAST:]) for values in (curve, expected))
        difference = abs(end - end32) / end32
        if not difference <= BOUND or skipped > len(expected) // 2:
            failed.append(name)
        rows.append(
            {"run": name, "updates": len(curve), "first loss": curve[0], "last losses": end,
             "off float32": difference, "bound": BOUND, "curve": curve}
        )  # fmt: skip
    record.write_text(json.dumps(rows))
    print("failed:", failed)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
