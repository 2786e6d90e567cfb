"""Results as a study writes them, of runs that never were."""

import json
from itertools import product
from random import Random

from scipy import stats

# What an arm adds to accuracy, in points, and to the gap of the label loss, in bits.
EFFECTS = {
    "FT": (0.0, 0.30),
    "KD": (1.0, 0.22),
    "SM": (0.4, 0.24),
    "TMKD": (1.8, 0.12),
    "SM+TMKD": (2.0, 0.10),
    "KD+SM+TMKD": (2.2, 0.08),
    "TMKD-only": (-0.5, 0.05),
}
MIXING = ("SM", "TMKD", "SM+TMKD", "KD+SM+TMKD", "TMKD-only")


def measures(task, quality, loss, distance):
    values = {
        "accuracy": quality,
        "ece": 5 + 8 * loss - quality / 20,
        "loss": loss,
        "kd_loss": distance,
    }
    if task in ("MRPC", "QQP"):
        values["acc_and_f1"] = quality + 2
    if task == "CoLA":
        values["mcc"] = quality - 40
    return values


def run(task, fraction, seed, arm, student="3-layer", data="gold", variant="recipe", shift=0.0):
    """A line; the same arguments give the same line."""
    random = Random(f"{task} {fraction} {seed} {arm} {data} {variant}")
    luck = Random(f"{task} {fraction} {seed}").gauss(0, 1.5)  # of the part, which arms share
    gain, gap = EFFECTS.get(arm, (0.0, 0.2))
    final = 75 + 40 * fraction + luck + gain + shift + random.gauss(0, 0.5)
    gap = gap / (1 + 10 * fraction) + random.gauss(0, 0.01)
    curve = []
    for i, left in enumerate((8.0, 4.0, 2.0, 0.7, 0.0), 1):
        quality, loss = final - left, 0.6 + left / 20
        part = gap * (1 - left / 10)
        point = {"updates": 50 * i, "epoch": i, "valid": measures(task, quality, loss, loss / 2)}
        point["train"] = measures(task, quality + 5, loss - part, loss / 2 - part / 3)
        if task == "MNLI":
            point["valid1"] = measures(task, quality + 0.5, loss, loss / 2)
        curve.append(point)
    last = {key: value for key, value in curve[-1].items() if isinstance(value, dict)}
    teacher = {"metrics": {"valid": measures(task, 88.0, 0.3, 0.0)}}
    if task == "MNLI":
        teacher["metrics"]["valid1"] = measures(task, 88.4, 0.3, 0.0)
    size = {"layers": 3, "parameters": 17569724, "bytes": 70278896}
    return {
        "task": task, "fraction": fraction, "seed": seed, "student": student, "arm": arm,
        "data": data, "variant": variant, "status": "done", "metrics": last, "curve": curve,
        "examples": round(67349 * fraction), "updates": 250, "teacher_queries": 8000, **size,
        "mixes_per_example": int(arm in MIXING), "seconds": 93.1, "command": "fairseq-train",
        "teacher": {**teacher, "layers": 6, "parameters": 22893116, "bytes": 91572464},
    }  # fmt: skip


def speed(task, student="3-layer"):
    return {"kind": "speed", "task": task, "student": student, "sentences_per_second": 433.1,
            "teacher_sentences_per_second": 226.0, "parameters": 17569724,
            "teacher_parameters": 22893116}  # fmt: skip


def failed(*names, **more):
    line = {k: v for k, v in run(*names, **more).items() if k in run_keys}
    return {**line, "status": "failed", "error": "exit 1: ValueError: --lr 1e9 | too\nhigh"}


run_keys = ("task", "fraction", "seed", "student", "arm", "data", "variant")


def study(tasks, fractions, seeds, arms=tuple(EFFECTS)):
    return [run(*names) for names in product(tasks, fractions, seeds, arms)]


def ablated(key, values, arms, tasks=("SST-2",), seeds=(1, 2, 3)):
    """Lines of variants of a setting; the larger a number, the better."""
    lines = []
    for i, value in enumerate(values):
        for task, seed, arm in product(tasks, seeds, arms):
            line = run(task, 0.01, seed, arm, variant=f"{key}={value}", shift=0.4 * i)
            if key == "mixup-ratio":
                line["mixes_per_example"] = int(value)
            lines.append(line)
    return lines


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def accuracy(*names, **more):
    return run(*names, **more)["metrics"]["valid"]["accuracy"]


def interval(ours, theirs):
    return tuple(stats.ttest_rel(ours, theirs).confidence_interval(0.95))
