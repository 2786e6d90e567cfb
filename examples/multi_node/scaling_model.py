"""A model of MixKD on many GPUs, whose tables scaling.py prints.

Counted: operations, launches, bytes and collectives (counted.json, by measure.py). Read in
fairseq's source: bytes a parameter, files a checkpoint. Everything in the block below is assumed.
"""

import json
import math
import os
from typing import Dict, List, NamedTuple

# -- Assumed; change it to what you have -----------------------------------------------------------

GPUS = {"A100": 312e12, "H100": 989e12}  # peak of half-precision products, operations a second
SUSTAINED = (0.3, 0.5)  # share of the peak that a step's products reach
GPU, SHARE = "A100", 0.4  # of the tables after the first
MEMORY_BANDWIDTH = 1.6e12  # bytes a second of GPU memory, 80% of an A100's peak
LAUNCH = 6e-6  # seconds of the host for one kernel
GPUS_A_NODE = 8
NVLINK = 230e9  # bytes a second, bus bandwidth of an all-reduce inside a node
NETWORKS = {"8 x 200 Gbit/s": 180e9, "1 x 100 Gbit/s": 11e9}  # the same between nodes, of a node
NETWORK = "8 x 200 Gbit/s"  # of the tables of wall-clock
HOP = {False: 3e-6, True: 12e-6}  # seconds of one hop, inside a node and between nodes
DISK = 1e9  # bytes a second, reading and writing
PROCESS = 20.0  # seconds until libraries, processes and NCCL are there
OUTSIDE = 1.5e9  # bytes of a GPU's memory that CUDA and NCCL take
BATCH = 32  # examples a GPU
CRITICAL_BATCHES = (256, 1024, 4096)  # examples

# -- Counted, or read in fairseq -------------------------------------------------------------------

HALF, FLOAT, ADAM = 2, 4, 8  # bytes of a number; of Adam's two averages
BUCKET = 25 * 2**20  # bytes, --bucket-cap-mb
ADAM_TRAFFIC = 120  # bytes a parameter: reads and writes of copies, scaling, clipping and Adam
SMALL = [48, 40]  # bytes of the statistics' all-reduces; the check of norms has 8 a rank
DATA = {  # examples, of validation, epochs, whose lengths
    "MNLI": (392_702, 9_815, 3, "rte"),
    "QQP": (363_846, 40_430, 3, "rte"),
    "SST-2": (67_349, 872, 3, "sst2"),
    "RTE": (2_490, 277, 10, "rte"),
}
WORLDS = (1, 8, 64, 512)
SHAPES = {"roberta-large": "RoBERTa-large -> 12 layers", "roberta-base": "RoBERTa-base -> 6"}


def _recorded(name: str) -> dict:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


COUNTED, VALIDATION = _recorded("counted.json"), _recorded("validation.json")


class Link(NamedTuple):
    """What a collective runs over."""

    bandwidth: float  # bytes a second
    hop: float  # seconds


def link(world: int, network: str) -> Link:
    if world <= GPUS_A_NODE:
        return Link(NVLINK, HOP[False])
    return Link(min(NVLINK, NETWORKS[network]), HOP[True])


def all_reduce(size: float, world: int, over: Link) -> float:
    """Seconds: the better of a ring and a tree."""
    if world == 1:
        return 0.0
    ring = 2 * (world - 1) / world * size / over.bandwidth + 2 * (world - 1) * over.hop
    tree = 2 * size / over.bandwidth + 2 * math.ceil(math.log2(world)) * over.hop
    return min(ring, tree)


def exposed(buckets: List[float], window: float, world: int, over: Link) -> float:
    """Seconds that buckets, sent one after another, take after the backward pass of ``window``.

    Gradients of layers arrive evenly over it; that of the embedding, the last bucket, at its end.
    """
    *layers, embedding = buckets
    sent = arrived = 0.0
    for size in layers:
        arrived += size / sum(layers) * window
        sent = max(sent, arrived) + all_reduce(size, world, over)
    return max(sent, window) + all_reduce(embedding, world, over) - window


def ddp_buckets(layers: float, embedding: float) -> List[float]:
    full, rest = divmod(layers, BUCKET)
    return [BUCKET] * int(full) + [rest, embedding]


class Step(NamedTuple):
    """Seconds of an update on one GPU."""

    products: float
    launches: float
    optimizer: float
    backward: float  # part of the longer of the first two

    @property
    def alone(self) -> float:
        return max(self.products, self.launches) + self.optimizer


def step(shape: str, lengths: str, gpu: str = GPU, share: float = SHARE) -> Step:
    c = COUNTED[shape]
    t = c[lengths]
    student = t["student_forward_flops"] + t["student_backward_flops"]
    flops = student + t["teacher_flops"]
    # two copies of every gradient and parameter: to the flat float32 ones and back
    launches = t["student_launches"] + t["teacher_launches"] + 4 * c["student_tensors"]
    products, launched = flops / (GPUS[gpu] * share), launches * LAUNCH
    backward = t["student_backward_flops"] / flops * max(products, launched)
    return Step(
        products, launched, c["student_parameters"] * ADAM_TRAFFIC / MEMORY_BANDWIDTH, backward
    )


def sent_seconds(shape: str, lengths: str, world: int, network: str, backend: str) -> float:
    """Of an update, what communication adds."""
    if world == 1:
        return 0.0
    c, over = COUNTED[shape], link(world, network)
    small = sum(all_reduce(size, world, over) for size in [*SMALL, 8 * world])
    embedding = HALF * c["embedding_parameters"]
    layers = HALF * c["student_parameters"] - embedding
    if backend == "legacy_ddp":
        return small + all_reduce(layers + embedding, world, over)
    used = all_reduce(4 * c["student_tensors"], world, over)  # which parameters had a gradient
    window = step(shape, lengths).backward
    return small + used + exposed(ddp_buckets(layers, embedding), window, world, over)


def memory(shape: str, lengths: str, world: int) -> Dict[str, float]:
    """{flags: bytes a GPU}."""
    c = COUNTED[shape]
    student, teacher = c["student_parameters"], HALF * c["teacher_parameters"]
    fixed = teacher + c[lengths]["kept_float32_bytes"] / 2 + OUTSIDE
    half, bucket = 2 * HALF, HALF  # weights and gradients; what is sent
    states = {
        "`--fp16`": half + bucket + 2 * FLOAT + ADAM,
        "`--memory-efficient-fp16`": half + bucket + ADAM,
        "the same, `--zero-sharding os`": half + bucket + ADAM / world,
        "`--ddp-backend fully_sharded --fp16`": half + (HALF + 2 * FLOAT + ADAM) / world,
    }
    return {flags: fixed + student * each for flags, each in states.items()}


def wall_clock(name: str, world: int, shape: str = "roberta-large") -> List[float]:
    """Updates an epoch; seconds of updates, start, validation and checkpoints of the whole run."""
    examples, valid, epochs, lengths = DATA[name]
    c, one = COUNTED[shape], step(shape, lengths)
    updates = math.ceil(examples / (BATCH * world))
    update = one.alone + sent_seconds(shape, lengths, world, NETWORK, "pytorch_ddp")
    broadcast = HALF * c["teacher_parameters"] / link(world, NETWORK).bandwidth
    start = PROCESS + FLOAT * c["teacher_parameters"] / DISK + (broadcast if world > 1 else 0)
    forward = (one.alone - one.optimizer - one.backward) * math.ceil(valid / (BATCH * world))
    checkpoint = (HALF + ADAM) * c["student_parameters"] / DISK  # last; best and epoch are copies
    return [updates, epochs * updates * update, start, epochs * forward, 3 * epochs * checkpoint]
