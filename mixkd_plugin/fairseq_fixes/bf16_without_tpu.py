"""``--bf16`` on GPUs and CPUs.

fairseq's command line takes ``--bf16`` for a request for a TPU, and fails without torch_xla.
Upstream: facebookresearch/fairseq#4696.
"""

import importlib.util

from omegaconf import DictConfig, open_dict


def undo_tpu(cfg: DictConfig) -> None:
    """Set ``tpu`` to false in a run's configuration, if only ``--bf16`` set it."""
    if not (cfg.common.tpu and cfg.common.bf16):
        return
    if importlib.util.find_spec("torch_xla") is not None:
        return
    for section in cfg.values():
        if isinstance(section, DictConfig) and "tpu" in section:
            with open_dict(section):
                section.tpu = False
