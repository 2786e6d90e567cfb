"""Memory of a GPU and time of a run, from sizes and assumed speeds: `python estimate.py --help`.

Sizes are exact; speeds are what you put in. Nothing here was measured on a GPU.
"""

import argparse
import math


def parameters(layers: int, width: int, vocabulary: int, positions: int, classes: int) -> int:
    """Of a RoBERTa with its language-model head and one classification head."""
    embeddings = (vocabulary + positions + 2) * width  # of tokens and positions; one LayerNorm
    layer = 12 * width**2 + 13 * width  # the feed-forward part is 4 times as wide
    language_model_head = width**2 + 3 * width + vocabulary
    head = width**2 + width + (width + 1) * classes
    return embeddings + layers * layer + language_model_head + head


def memory_table(args: argparse.Namespace, student: int, teacher: int) -> str:
    """GB of a GPU, by flags, without what CUDA and NCCL need for themselves."""
    gpus = max(args.gpus)
    weights = 2 + 2 + 2  # fp16 weights, gradients, and the buckets that DDP sends
    adam = 8  # two averages in float32
    bytes_a_parameter = {
        "--fp16": weights + adam + 4 + 4 + 4,  # float32 weights, gradients, and Adam's temporary
        "--memory-efficient-fp16": weights + adam,
        "--memory-efficient-fp16 --zero-sharding os": weights + adam / gpus,
    }
    # Korthikanti et al., 2022: bytes for each layer, position and unit of width; heads of 64 units
    kept = 34 + 5 * args.tokens / 64
    activations = 2 * args.batch * args.tokens * args.width * args.student_layers * kept
    head = f"| flags | student | teacher | activations | together, {gpus} GPUs |"
    lines = [head, "|---|---|---|---|---|"]
    for flags, each in bytes_a_parameter.items():
        parts = student * each, teacher * 2, activations
        cells = [f"{part / 1e9:.1f}" for part in (*parts, sum(parts))]
        lines.append(f"| `{flags}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def time_table(args: argparse.Namespace, student: int) -> str:
    """An update and a run, by GPUs: nothing that is sent is hidden behind the backward pass."""
    layer = 2 * 12 * args.width**2  # operations a token, forward; with backward three times that
    # the student computes clean and mixed sequences, the teacher mixed ones
    a_token = layer * (2 * 3 * args.student_layers + args.teacher_layers)
    compute = a_token * args.tokens * args.batch / (args.tflops * 1e12)
    lines = ["| GPUs | updates an epoch | compute, ms | exchange, ms | run, minutes |"]
    lines.append("|---|---|---|---|---|")
    for gpus in args.gpus:
        bandwidth = args.inside if gpus <= args.gpus_a_node else args.network
        exchange = 2 * 2 * student * (gpus - 1) / gpus / (bandwidth * 1e9)
        updates = math.ceil(args.examples / (args.batch * gpus))
        minutes = args.epochs * updates * (compute + exchange) / 60
        times = f"{1e3 * compute:.1f} | {1e3 * exchange:.1f} | {minutes:.0f}"
        lines.append(f"| {gpus} | {updates:,} | {times} |")
    return "\n".join(lines)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--student-layers", type=int, default=12)
    add("--teacher-layers", type=int, default=24)
    add("--width", type=int, default=1024)
    add("--vocabulary", type=int, default=50265)
    add("--positions", type=int, default=514)
    add("--classes", type=int, default=3)
    add("--examples", type=int, default=392_702, help="of the training split (MNLI's)")
    add("--epochs", type=int, default=10)
    add("--tokens", type=int, default=64, help="of an example, on average")
    add("--batch", type=int, default=8, help="examples of a GPU in an update")
    add("--gpus", type=int, nargs="+", default=[8, 32, 64])
    add("--gpus-a-node", type=int, default=8)
    add("--tflops", type=float, default=100, help="tera-operations a second that a GPU reaches")
    add("--inside", type=float, default=200, help="GB/s between the GPUs of a node")
    add("--network", type=float, default=25, help="GB/s between nodes")
    args = parser.parse_args(argv)
    shape = args.width, args.vocabulary, args.positions, args.classes
    student, teacher = (parameters(n, *shape) for n in (args.student_layers, args.teacher_layers))
    print(f"Parameters: student {student:,}, teacher {teacher:,}\n")
    print(memory_table(args, student, teacher), end="\n\n")
    print(time_table(args, student))


if __name__ == "__main__":
    main()
