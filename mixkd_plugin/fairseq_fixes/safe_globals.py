"""Permits torch to load the types in fairseq's checkpoints.

Since torch 2.6 ``torch.load`` refuses all but tensors and plain values, and fairseq's checkpoints
hold argparse namespaces, OmegaConf's containers and numpy numbers. Upstream:
facebookresearch/fairseq#5603 and #5610.
"""

from ..checkpoints.safe_load import SAFE_GLOBALS

FAIRSEQ_GLOBALS = [(value, name) for name, value in SAFE_GLOBALS.items()]
