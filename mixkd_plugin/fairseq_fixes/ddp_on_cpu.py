"""Training by several processes without a GPU.

fairseq gives torch's DistributedDataParallel a device number on a CPU as well, which torch refuses.
Upstream: not reported.
"""


def without_device_ids(data_parallel, module, **options):
    """torch's DistributedDataParallel, on a CPU without device numbers."""
    if next(module.parameters()).device.type == "cpu":
        options.update(device_ids=None, output_device=None)
    return data_parallel(module=module, **options)
