"""Gather values of any size from all processes, also without a GPU.

fairseq's ``all_gather_list`` writes into a buffer of fixed size on a GPU: it refuses larger values,
and fails without a GPU. Upstream: facebookresearch/fairseq#1491.
"""

from typing import Any, Callable, List

from fairseq import utils

from .. import distributed


def all_gather_list(_original: Callable, data: Any, group=None, max_size: int = 0) -> List[Any]:
    """Every rank's ``data``, in the order of ranks; tensors come back on the CPU."""
    return distributed.gather_objects(utils.move_to_cpu(data), group)
