"""How the processes of a run begin and meet, where fairseq's own way ends badly.

:mod:`mixkd_plugin.compat` puts these two around fairseq's functions of the same names. They serve
every run that imports this package before its processes meet: ``fairseq-train`` with
``--user-dir``. (``fairseq-hydra-train`` imports it later.)
"""

import functools
import importlib.util
from datetime import timedelta
from typing import Callable
from unittest import mock

import torch
import torch.distributed as dist
from omegaconf import DictConfig, open_dict
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import rendezvous


def call_main(call: Callable[..., None], cfg: DictConfig, main: Callable[..., None], **kwargs):
    """``call(cfg, main)``, fairseq's ``call_main``.

    Raises:
        ValueError: where it would start no process and report success.
    """
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


def _train_in_bfloat16_without_tpu(cfg: DictConfig) -> None:
    """Undo what ``--bf16`` means to fairseq's command line: a TPU."""
    for section in cfg.values():
        if isinstance(section, DictConfig) and "tpu" in section:
            with open_dict(section):
                section.tpu = False


def distributed_init(init: Callable[[DictConfig], int], cfg: DictConfig) -> int:
    """``init(cfg)``, fairseq's ``distributed_init``, within ``--rendezvous-timeout``.

    Raises:
        ValueError: on every rank that waited, where the others did not come in time.
    """
    seconds = (cfg.task or {}).get("rendezvous_timeout", 300)
    real = dist.init_process_group

    def init_process_group(backend, init_method, world_size, rank):
        limit = timedelta(seconds=seconds)
        try:
            store, rank, world_size = next(rendezvous(init_method, rank, world_size, timeout=limit))
            store.set(f"came/{rank}", "")
            store.wait([f"came/{other}" for other in range(world_size)], limit)
        except (RuntimeError, OSError) as error:  # torch's own kinds are RuntimeErrors
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"--distributed-init-method {init_method}: rank {rank} of {world_size} waited for "
                f"{seconds} seconds (--rendezvous-timeout) in vain: is every rank started, and is "
                f"this the address of rank 0, as it is seen from here? ({reason})"
            ) from error
        store.set_timeout(default_pg_timeout)
        real(backend, store=store, world_size=world_size, rank=rank)

    with mock.patch.object(dist, "init_process_group", init_process_group):
        return init(cfg)
