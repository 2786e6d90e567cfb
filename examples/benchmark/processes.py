"""A process of one's own, and how much memory of it is resident (Linux)."""

import logging
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Callable


def be_quiet() -> None:
    """No messages and warnings of fairseq, torch and the other tools between ours."""
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")


def in_own_process(function: Callable, *args):
    """What ``function(*args)`` returns in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=be_quiet) as pool:
        return pool.submit(function, *args).result()


def resident(key: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most.

    Not getrusage, which counts what a process was before it became one of its own.
    """
    with open("/proc/self/status", encoding="utf-8") as lines:
        (line,) = (line for line in lines if line.startswith(key))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """VmHWM counts anew from here."""
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")
