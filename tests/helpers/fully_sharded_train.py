"""`fairseq-train --ddp-backend fully_sharded` on a CPU, where fairscale would ask for a GPU.

The sharding, the gathering of parameters and the reduction of gradients are fairscale's own; only
what it does with a GPU's streams is left out.
"""

import collections
import contextlib
from unittest import mock

import fairseq_cli.train
import torch
from fairseq.distributed import fully_sharded_data_parallel as fsdp

if __name__ == "__main__":
    stream = mock.MagicMock()
    init = fsdp.FullyShardedDataParallel.__init__
    reset = fsdp.FullyShardedDataParallel._reset_lazy_init

    def on_the_cpu(self, *args, **kwargs):
        init(self, *args, compute_device=torch.device("cpu"), **kwargs)

    def reset_lazy_init(self):
        reset(self)
        self._streams = collections.defaultdict(lambda: stream)

    fsdp.FullyShardedDataParallel.__init__ = on_the_cpu
    fsdp.FullyShardedDataParallel._reset_lazy_init = reset_lazy_init
    torch.cuda.current_stream = lambda *_: stream
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.stream = lambda *_: contextlib.nullcontext()
    torch.Tensor.record_stream = lambda *_: None
    torch.Tensor.cuda = lambda tensor, *_: tensor

    scatter = torch.distributed._reduce_scatter_base

    def flat(output, chunks, *args, **kwargs):  # gloo wants what NCCL does not mind
        return scatter(output, chunks.flatten(), *args, **kwargs)

    torch.distributed._reduce_scatter_base = flat
    fairseq_cli.train.cli_main()
