"""The start of a run of our tasks: flags are checked, and spawned processes import this package.

fairseq spawns processes that import ``--user-dir`` too late, after the rendezvous. Upstream: not
reported.
"""

import functools
from typing import Callable

from omegaconf import DictConfig

from .bf16_without_tpu import undo_tpu
from .refused_flags import check_processes, check_saving


def call_main(call: Callable[..., None], cfg: DictConfig, main: Callable[..., None], **kwargs):
    """fairseq's ``call_main``; ValueError where it would do nothing, and report success."""
    if "rendezvous_timeout" not in (getattr(cfg, "task", None) or {}):  # none of our tasks
        return call(cfg, main, **kwargs)
    check_saving(cfg)
    undo_tpu(cfg)
    check_processes(cfg)
    # A spawned process unpickles this function, and so imports this package before the rendezvous.
    call(cfg, functools.partial(_run, main), **kwargs)


def _run(main: Callable[..., None], cfg: DictConfig, **kwargs) -> None:
    main(cfg, **kwargs)
