"""Communication between the processes of a run; a single process does not communicate.

If one rank fails, the others wait for it. So code that can fail on one rank, because of a missing
file or a wrong flag, runs in :func:`raise_on_all_ranks`.
"""

import contextlib
import hashlib
import socket
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import torch
import torch.distributed as dist
from fairseq.distributed import utils as distributed_utils
from torch import Tensor

_no_collectives = 0


def world_size() -> int:
    return 1 if _no_collectives else distributed_utils.get_global_world_size()


def rank() -> int:
    return distributed_utils.get_global_rank() if world_size() > 1 else 0


@contextlib.contextmanager
def no_collectives() -> Iterator[None]:
    """In its context this rank does not communicate: the others do not run this code."""
    global _no_collectives
    _no_collectives += 1
    try:
        yield
    finally:
        _no_collectives -= 1


def gather(value: Any) -> List[Any]:
    """Every rank's value, in the order of ranks. For small values: they are pickled."""
    return [value] if world_size() == 1 else gather_objects(value)


def gather_objects(value: Any, group=None) -> List[Any]:
    """Every rank's value, in a group of processes (None: all of them)."""
    if group is None:
        group = distributed_utils.get_global_group()
    values = [None] * distributed_utils.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def of_first_rank(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The first rank's, on every rank."""
    if world_size() == 1:
        return weights
    return distributed_utils.broadcast_object(weights, 0, distributed_utils.get_global_group())


def merge_max(values: Tensor) -> None:
    """The largest of all ranks' values, on every rank, in place."""
    if world_size() > 1:
        distributed_utils.all_reduce(values, distributed_utils.get_global_group(), op="max")


@contextlib.contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """An exception in the context on one rank is raised on all.

    Raises:
        Exception: the rank's own
        ValueError: on the others, with the message of the first rank that failed
    """
    if world_size() == 1:
        yield
        return
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    messages = gather(None if error is None else str(error) or type(error).__name__)
    if error is not None:
        raise error
    for other, message in enumerate(messages):
        if message is not None:
            raise ValueError(f"rank {other}: {message}")


def check_equal(values: Optional[Dict[str, Any]]) -> None:
    """Raise ValueError on every rank, unless all ranks that know them have the same values.

    ``values``: by their names in the error, compared as text; None: this rank does not know them.
    """
    if world_size() == 1:
        return
    texts, digest = None, None
    if values is not None:
        texts = {name: str(value) for name, value in values.items()}
        digest = hashlib.sha256(str(sorted(texts.items())).encode()).hexdigest()
    if len(set(gather(digest)) - {None}) <= 1:
        return
    knowing = [(rank, theirs) for rank, theirs in enumerate(gather(texts)) if theirs is not None]
    (first, ours), *others = knowing
    for name in sorted(set().union(*(theirs for _, theirs in knowing))):
        for other, theirs in others:
            if theirs.get(name, "absent") != ours.get(name, "absent"):
                raise ValueError(
                    f"{name} must be the same on every rank: {ours.get(name, 'absent')} on rank "
                    f"{first}, {theirs.get(name, 'absent')} on rank {other}"
                )


class BroadcastGroup(NamedTuple):
    """A group of ranks, of which one reads and broadcasts to the others."""

    process_group: Any  # None for one process
    source: int
    is_source: bool

    def broadcast(self, value: Any) -> Any:
        """The reader's value, on every rank. For small values: they are pickled."""
        if self.process_group is None:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=self.source, group=self.process_group)
        return values[0]

    def broadcast_tensors(self, tensors: Sequence[Tensor]) -> None:
        """The reader's tensors, in place, of equal shapes and types on every rank."""
        if self.process_group is None:
            return
        # copies of those with other strides, such as a transposed parameter
        whole = [tensor.detach().contiguous() for tensor in tensors]
        # as bytes: not every backend of every torch knows bfloat16
        flat = [tensor.reshape(-1).view(torch.uint8) for tensor in whole]
        for work in [
            dist.broadcast(part, src=self.source, group=self.process_group, async_op=True)
            for part in flat
        ]:
            work.wait()
        for tensor, received in zip(tensors, whole):
            if not tensor.is_contiguous():
                tensor.data.copy_(received)


def readers(of_each: str) -> List[int]:
    """For each rank, the rank that reads for it: the first of the ``run``, or of its ``host``."""
    if of_each == "run":
        return [0] * world_size()
    hosts = gather(socket.gethostname())
    return [hosts.index(host) for host in hosts]


def is_first(key: Any) -> bool:
    """Whether no rank before this one has the same key on the same host."""
    mine = (socket.gethostname(), key)
    return gather(mine).index(mine) == rank()


@contextlib.contextmanager
def one_reader(of_each: str) -> Iterator[BroadcastGroup]:
    """One rank reads for all others: of the ``run``, or of each ``host``."""
    reader_of = readers(of_each)
    source = reader_of[rank()]
    if world_size() == 1:
        yield BroadcastGroup(None, 0, True)
    elif of_each == "run":
        yield BroadcastGroup(distributed_utils.get_global_group(), source, rank() == source)
    else:
        groups = {}
        for reader in dict.fromkeys(reader_of):  # every rank must create every group
            groups[reader] = dist.new_group([r for r, of in enumerate(reader_of) if of == reader])
        try:
            yield BroadcastGroup(groups[source], source, rank() == source)
        finally:
            dist.destroy_process_group(groups[source])
