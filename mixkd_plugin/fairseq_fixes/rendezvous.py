"""A time limit and a clear error if processes of a run are missing or do not agree.

fairseq gives torch no time limit, so ranks wait for half an hour for one that is missing. Ranks
that were started with another world size or task wait for each other at different points, which
torch's time limit does not explain. Upstream: not reported.

It acts if this package is imported before the rendezvous: by ``fairseq-train --user-dir``,
and not by ``fairseq-hydra-train``.
"""

import warnings
from datetime import timedelta
from typing import Callable

import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import rendezvous

from ..errors import in_short


def distributed_init(init: Callable[[DictConfig], int], cfg: DictConfig) -> int:
    """``init(cfg)``, fairseq's ``distributed_init``, after a rendezvous in torch's store.

    Raises:
        ValueError: if ranks are missing after ``--rendezvous-timeout`` seconds, or were started
            with another number of processes or another task.
    """
    if cfg.common.tpu or dist.is_initialized():
        return init(cfg)
    training, task = cfg.distributed_training, cfg.task
    method, rank = training.distributed_init_method, training.distributed_rank
    world_size = training.distributed_world_size
    limit = timedelta(
        seconds=getattr(task, "rendezvous_timeout", None) or default_pg_timeout.total_seconds()
    )
    mine = f"--distributed-world-size {world_size} --task {getattr(task, '_name', None)}"
    try:
        store, _, _ = next(rendezvous(method, rank, world_size, timeout=limit))
        store.set_timeout(limit)
        # A rank with other flags would make the others wait, so rank 0 compares all.
        if rank == 0:
            store.set("rank 0", mine)
            others = {other: store.get(f"rank {other}") for other in range(1, world_size)}
        else:  # reads before it writes: rank 0 serves the store, and may end after this write
            others = {0: store.get("rank 0")}
            store.set(f"rank {rank}", mine)
        for other, theirs in others.items():
            if theirs.decode() != mine:
                raise ValueError(
                    f"rank {rank} was started with {mine}, rank {other} with {theirs.decode()}: "
                    "start all with the same flags"
                )
        store.set_timeout(default_pg_timeout)
        dist.init_process_group(
            training.distributed_backend, store=store, world_size=world_size, rank=rank
        )
        if torch.cuda.is_available():  # as fairseq does where it initialises itself
            dist.all_reduce(torch.zeros(1).cuda())
    except (RuntimeError, OSError) as error:  # torch's own kinds are RuntimeErrors
        raise ValueError(
            f"--distributed-init-method {method}: rank {rank} did not meet all {world_size} ranks "
            f"in {limit.total_seconds():g} seconds (--rendezvous-timeout; {in_short(error)}): "
            f"start every rank with {mine}, and give the address of rank 0 as each rank sees it"
        ) from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Distributed is already initialized")
        return init(cfg)
