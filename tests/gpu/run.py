"""Run what only a GPU can show, part by part, and write one JSON file and one Markdown page.

Each part is a process with a time-out of its own; one that fails does not stop the others.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
# the longest that each part may take, in seconds: together under 8 minutes
SECONDS = {"tests": 100, "parity": 50, "curves": 120, "benchmark": 200}
TOY_FACTOR = 4  # for a CPU that others use, too
ARMS = "finetune,naive,mixkd-float32-teacher,mixkd,mixkd-bf16,epoch-finetune,epoch-mixkd"


def command_of(part: str, out: Path, toy: bool) -> list:
    device = "cpu" if toy else "cuda"
    if part == "tests":  # -k: the name of a test or of its folder
        files = ["tests/gpu", "tests/unit/modules", "tests/training/test_precision.py"]
        return ["-m", "pytest", "-n", "0", "-q", "-k", "gpu", "-W", "ignore", *files]
    if part == "benchmark":
        size = (
            "--rounds 1 --steps 1 --examples 16 --batch-size 8 --arms finetune,mixkd"
            if toy
            else f"--cuda --rounds 5 --steps 4 --epoch-rounds 2 --examples 512 --arms {ARMS}"
        )
        output = ["--memory", "--output", out / "benchmark"]
        return ["examples/benchmark/benchmark.py", *size.split(), *output]
    return [f"tests/gpu/{part}.py", device, out / f"{part}.json"]


def run(part: str, out: Path, toy: bool) -> dict:
    """Run a part; its status, its seconds, and where its output is."""
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    paths = [str(ROOT), str(ROOT / "tests" / "helpers"), environment.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    log = out / f"{part}.log"
    command = [sys.executable, *map(str, command_of(part, out, toy))]
    print(f"{part} ... ", end="", flush=True)
    start = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(SECONDS[part] * (TOY_FACTOR if toy else 1))
            status = "passed" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            status = "failed: timed out"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too
                process.wait()
    seconds = time.monotonic() - start
    print(f"{status}, {seconds:.0f} s")
    if status != "passed":
        print("\n".join(log.read_text().splitlines()[-15:]))
    return {"status": status, "seconds": round(seconds, 1), "log": log.name}


def read_figures(out: Path) -> dict:
    """{part: what it measured}, of the parts that wrote their file."""
    files = {part: out / f"{part}.json" for part in ("parity", "curves")}
    files["benchmark"] = out / "benchmark" / "minilm-sst2.json"
    return {part: json.loads(f.read_text()) for part, f in files.items() if f.exists()}


def table(rows: list) -> str:
    """Markdown of rows that have the same keys."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = (f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(results: dict, out: Path) -> str:
    """The whole page, in Markdown."""
    machine, figures = results["machine"], results["figures"]
    sections = [", ".join(f"{key}: {value}" for key, value in machine.items())]
    sections.append(table([{"part": part, **row} for part, row in results["parts"].items()]))
    for part in ("parity", "curves"):
        if figures.get(part):
            rows = [{k: v for k, v in row.items() if k != "curve"} for row in figures[part]]
            sections.append(f"## {part}\n\n{table(rows)}")
    if "benchmark" in figures:
        text = (out / "benchmark" / "minilm-sst2.md").read_text()
        sections.append(f"## benchmark\n\n{text}")
    return "\n\n".join(sections) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the results; made where it is missing")
    parser.add_argument("--toy", action="store_true", help="the same steps, small, on the CPU")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("*.json"), *out.glob("benchmark/*")]:
        old.unlink()
    has_gpu = torch.cuda.is_available()
    if args.toy or has_gpu:
        parts = {part: run(part, out, args.toy) for part in SECONDS}
    else:
        print("No GPU that torch can use: every part is skipped. --toy runs them on the CPU.")
        parts = {part: {"status": "skipped", "seconds": 0.0, "log": ""} for part in SECONDS}
    on_gpu = has_gpu and not args.toy
    results = {
        "machine": {
            "device": torch.cuda.get_device_name() if on_gpu else "CPU",
            "torch": torch.__version__,
            "CUDA": torch.version.cuda or "none",
            "python": platform.python_version(),
        },
        "parts": parts,
        "figures": read_figures(out),
    }
    (out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "gpu.md").write_text(page(results, out))
    print(f"{out / 'gpu.json'}\n{out / 'gpu.md'}")
    return int(any(row["status"].startswith("failed") for row in parts.values()))


if __name__ == "__main__":
    sys.exit(main())
