"""Print the tables of SCALING.md: what the model of scaling_model.py says of 8, 64 and 512 GPUs."""

import math

from scaling_model import (
    BATCH,
    COUNTED,
    CRITICAL_BATCHES,
    DATA,
    GPU,
    GPUS,
    HALF,
    NETWORK,
    NETWORKS,
    SHAPES,
    SUSTAINED,
    VALIDATION,
    WORLDS,
    memory,
    sent_seconds,
    step,
    wall_clock,
)


def row(*cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, rows) -> str:
    return "\n".join([row(*head), row(*["---"] * len(head)), *(row(*r) for r in rows)])


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}" if seconds < 0.0995 else f"{1e3 * seconds:.0f}"


def cases():
    return [(s, lengths) for s in SHAPES for lengths in ("sst2", "rte")]


def step_table() -> str:
    rows = []
    for shape, lengths in cases():
        t, one = COUNTED[shape][lengths], step(shape, lengths)
        tera = [
            t[f"{part}_flops"] / 1e12 for part in ("student_forward", "student_backward", "teacher")
        ]
        spans = []
        for gpu in GPUS:
            low, high = (step(shape, lengths, gpu, share).products for share in SUSTAINED[::-1])
            spans.append(f"{ms(low)} to {ms(high)}")
        tokens = f"{t['clean_tokens']:.0f} + {t['mixed_tokens']:.0f}"
        rows.append([SHAPES[shape], lengths, tokens, *(f"{x:.2f}" for x in tera), *spans,
                     ms(one.launches), ms(one.optimizer), ms(one.alone)])  # fmt: skip
    head = ["", "lengths", "tokens, clean + mixed", "student forward", "backward", "teacher",
            *(f"{gpu}, ms" for gpu in GPUS), "launches, ms", "optimizer, ms",
            f"step on {GPU}, ms"]  # fmt: skip
    return table(head, rows)


def efficiency_table() -> str:
    rows = []
    for shape, lengths in cases():
        alone = step(shape, lengths).alone
        for backend in ("legacy_ddp", "pytorch_ddp"):
            cells = []
            for world, network in [(8, NETWORK), *((w, n) for n in NETWORKS for w in WORLDS[2:])]:
                added = sent_seconds(shape, lengths, world, network, backend)
                cells.append(f"{ms(alone + added)} ({100 * alone / (alone + added):.0f}%)")
            rows.append([SHAPES[shape], lengths, f"`{backend}`", ms(alone), *cells])
    head = ["", "lengths", "", "1", "8"]
    return table(head + [f"{w}, {n}" for n in NETWORKS for w in WORLDS[2:]], rows)


def memory_table() -> str:
    rows = []
    for shape, lengths in (("roberta-large", "rte"), ("roberta-base", "rte")):
        for flags in memory(shape, lengths, 1):
            each = [f"{memory(shape, lengths, world)[flags] / 1e9:.1f}" for world in WORLDS[1:]]
            rows.append([SHAPES[shape], flags, *each])
    return table(["", "", *(f"{world} GPUs" for world in WORLDS[1:])], rows)


def parts_table() -> str:
    rows = []
    for shape in SHAPES:
        c = COUNTED[shape]
        kept = [c[lengths]["kept_float32_bytes"] / 2e9 for lengths in ("sst2", "rte")]
        numbers = [c["student_parameters"], c["embedding_parameters"], c["teacher_parameters"]]
        rows.append([SHAPES[shape], *(f"{n / 1e6:.1f}" for n in numbers),
                     f"{HALF * numbers[0] / 1e6:.0f}", f"{HALF * numbers[2] / 1e9:.2f}",
                     *(f"{k:.2f}" for k in kept)])  # fmt: skip
    head = ["", "student, M parameters", "of them embedding", "teacher, M parameters",
            "gradients sent, MB", "teacher, GB", "activations at sst2, GB",
            "at rte, GB"]  # fmt: skip
    return table(head, rows)


def wall_clock_table() -> str:
    rows = []
    for name, (examples, _, epochs, _) in DATA.items():
        for world in WORLDS:
            updates, *seconds = wall_clock(name, world)
            idle = max(0, world - math.ceil(examples / BATCH))
            share = 100 * seconds[0] / sum(seconds)
            rows.append([f"{name}, {epochs} epochs", world, updates, idle,
                         *(f"{s:.0f}" for s in [*seconds, sum(seconds)]),
                         f"{share:.0f}%"])  # fmt: skip
    head = ["", "GPUs", "updates an epoch", "GPUs without a batch", "updates, s", "start, s",
            "validation, s", "checkpoints, s", "all, s", "of it updates"]  # fmt: skip
    return table(head, rows)


def critical_table() -> str:
    """Speed-up to the same loss, where reaching it takes 1 + B / B_crit times the examples."""
    alone = step("roberta-large", "rte").alone
    rows = []
    for critical in CRITICAL_BATCHES:
        cells = []
        for world in WORLDS[1:]:
            added = sent_seconds("roberta-large", "rte", world, NETWORK, "pytorch_ddp")
            fewer = (1 + BATCH / critical) / (1 + BATCH * world / critical)
            cells.append(f"{world * fewer * alone / (alone + added):.1f}")
        rows.append([critical, *cells, f"{1 + critical / BATCH:.0f}"])
    head = ["critical batch", *(f"{world} GPUs" for world in WORLDS[1:]), "without end"]
    return table(head, rows)


def validation_table() -> str:
    """Of validation.json, which validate_scaling.py wrote."""
    rows = []
    for name, found in VALIDATION.items():
        cells = [f"{found['sending']:.2f}", "{:.2f} to {:.2f}".format(*found["sending_span"])]
        for what in ("sending", "step"):
            predicted, measured = found.get(f"predicted_{what}"), found[what]
            cells += [f"{measured:.2f}"] if what == "step" else []
            ratio = "" if predicted is None else f"{predicted:.2f} ({predicted / measured:.2f})"
            cells.append(ratio)
        backend, limit = name.split(", ")
        rows.append([f"`{backend}`", limit, *cells])
    head = ["", "", "sending, s", "least to most", "predicted (/ measured)", "step, s"]
    return table([*head, "predicted (/ measured)"], rows)


TABLES = {
    "What a step computes": step_table,
    "What is sent and kept": parts_table,
    "A step on many GPUs": efficiency_table,
    "Memory of a GPU": memory_table,
    "Wall-clock": wall_clock_table,
    "The critical batch": critical_table,
    "How well the model predicts": validation_table,
}

if __name__ == "__main__":
    for title, make in TABLES.items():
        print(f"## {title}\n\n{make()}\n")
