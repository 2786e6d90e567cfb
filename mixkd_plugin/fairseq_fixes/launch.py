"""How the processes of a run begin and meet, where fairseq's own way ends badly.

:mod:`mixkd_plugin.fairseq_fixes.apply` puts these two around fairseq's functions of
the same names. They serve runs of our own tasks that import this package before their processes
meet: ``fairseq-train`` with ``--user-dir``. (``fairseq-hydra-train`` imports it later.)
"""

import functools
import importlib.util
import time
from datetime import timedelta
from typing import Callable, Optional
from unittest import mock

import torch
import torch.distributed as dist
from omegaconf import DictConfig, open_dict
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import rendezvous

from .refused_flags import check_saving


def call_main(call: Callable[..., None], cfg: DictConfig, main: Callable[..., None], **kwargs):
    """``call(cfg, main)``, fairseq's ``call_main``.

    Raises:
        ValueError: where it would start no process, or train nothing, and report success.
    """
    if _seconds_to_wait(cfg) is None:
        return call(cfg, main, **kwargs)
    check_saving(cfg)
    if cfg.common.tpu and cfg.common.bf16 and importlib.util.find_spec("torch_xla") is None:
        _train_in_bfloat16_without_tpu(cfg)
    training = cfg.distributed_training
    spawns = training.distributed_init_method is not None and not training.distributed_no_spawn
    if spawns and not torch.cuda.is_available():
        raise ValueError(
            f"--distributed-world-size {training.distributed_world_size}: without a GPU fairseq "
            "starts no process; start each of them with --distributed-no-spawn and its own "
            "--distributed-rank"
        )
    # A process that fairseq spawns unpickles the function, and so imports this package in time.
    call(cfg, functools.partial(_run, main), **kwargs)


def _run(main: Callable[..., None], cfg: DictConfig, **kwargs) -> None:
    main(cfg, **kwargs)


def _seconds_to_wait(cfg: DictConfig) -> Optional[int]:
    """--rendezvous-timeout, which our own tasks have; None for others."""
    return getattr(getattr(cfg, "task", None), "rendezvous_timeout", None)


def _train_in_bfloat16_without_tpu(cfg: DictConfig) -> None:
    """Undo what ``--bf16`` means to fairseq's command line: a TPU."""
    for section in cfg.values():
        if isinstance(section, DictConfig) and "tpu" in section:
            with open_dict(section):
                section.tpu = False


def distributed_init(init: Callable[[DictConfig], int], cfg: DictConfig) -> int:
    """``init(cfg)``, fairseq's ``distributed_init``, within ``--rendezvous-timeout``.

    Raises:
        ValueError: on every rank that waited, where others did not come in time, or came with
            another task or number of processes.
    """
    seconds = _seconds_to_wait(cfg) or default_pg_timeout.total_seconds()
    task = getattr(cfg.task, "_name", None)
    join = dist.init_process_group

    def init_process_group(backend, init_method, world_size, rank):
        store = _meet(init_method, world_size, rank, seconds, task)
        store.set_timeout(default_pg_timeout)
        join(backend, store=store, world_size=world_size, rank=rank)

    with mock.patch.object(dist, "init_process_group", init_process_group):
        return init(cfg)


def _meet(init_method: str, world_size: int, rank: int, seconds: float, task: str) -> dist.Store:
    """Wait for all ranks; where their store is.

    What they must agree on before anything else, or they would wait for each other elsewhere, is
    compared here: each with rank 0, which waits for them as it serves the store.
    """
    begin, limit = time.monotonic(), timedelta(seconds=seconds)
    mine = f"--distributed-world-size {world_size} --task {task}"
    try:
        store, _, _ = next(rendezvous(init_method, rank, world_size, timeout=limit))
        store.set(f"rank {rank}", mine)
        store.wait(["rank 0"], limit)
        first = store.get("rank 0").decode()
        store.set(f"rank {rank} has seen rank 0", "")
        said = f"rank {rank} was started with {mine}, rank"
        if mine != first:  # and the store is not asked again: rank 0 need not serve it any longer
            raise ValueError(f"{said} 0 with {first}")
        store.wait([f"rank {other}" for other in range(world_size)], limit)
        for other in range(world_size):
            theirs = store.get(f"rank {other}").decode()
            if theirs != mine:
                if rank == 0:
                    store.wait([f"rank {other} has seen rank 0"], limit)
                raise ValueError(f"{said} {other} with {theirs}")
    except (RuntimeError, OSError) as error:  # torch's own kinds are RuntimeErrors
        reason = " ".join(str(error).split())[:200]
        who = f"--distributed-init-method {init_method}: rank {rank} of {world_size}"
        if time.monotonic() - begin < 0.9 * seconds:  # torch's clock is not quite ours
            raise ValueError(f"{who} cannot use it: {reason}") from error
        raise ValueError(
            f"{who} waited for {seconds:g} seconds (--rendezvous-timeout) in vain: is every rank "
            f"started, and is this the address of rank 0, as it is seen from here? ({reason})"
        ) from error
    return store
