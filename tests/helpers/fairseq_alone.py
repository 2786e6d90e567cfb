"""What each fix of fairseq is for, tried on fairseq alone: ``python fairseq_alone.py DATA FOLDER``.

The process never imports this package. It writes what each probe ends with to FOLDER/ends.json;
where a probe ends with "nothing", no fix is needed.
"""

import argparse
import contextlib
import importlib.util
import json
import sys
import time
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from fairseq import checkpoint_utils
from fairseq.data import iterators
from fairseq.distributed import utils as distributed_utils
from plain_train import NAME, half_first, supply_batcher

# --- what is wanted, by the file of the fix ---


def data_utils_fast(data, folder):
    if importlib.util.find_spec(NAME) is not None:
        return "this fairseq has a compiled one"
    from fairseq.data import data_utils

    data_utils.batch_by_size(np.arange(2), len, np.ones(2, dtype=int), max_sentences=1)


def all_gather_any_size(data, folder):
    group()
    value = "x" * 20_000
    assert distributed_utils.all_gather_list(value) == [value]


def ddp_on_cpu(data, folder):
    from fairseq.dataclass.configs import DistributedTrainingConfig
    from fairseq.models.distributed_fairseq_model import DistributedFairseqModel

    cfg = DistributedTrainingConfig(ddp_backend="pytorch_ddp", device_id=0, tpu=False)
    cpu = torch.device("cpu")
    DistributedFairseqModel(cfg, torch.nn.Linear(2, 2), process_group=group(), device=cpu)


def bf16_without_tpu(data, folder):
    from fairseq import options

    args = [str(data), "--arch", "transformer_tiny", "--bf16"]
    assert not options.parse_args_and_arch(options.get_training_parser(), args).tpu


def safe_globals(data, folder):
    torch.save({"args": argparse.Namespace(arch="x"), "model": {}}, folder / "namespace.pt")
    checkpoint_utils.load_checkpoint_to_cpu(str(folder / "namespace.pt"))


def atomic_save(data, folder):
    """A second attempt, after one that the disk did not take, leaves a file that can be read."""
    with mock.patch.object(torch, "save", half_first(torch.save)), mock.patch("time.sleep"):
        checkpoint_utils.torch_persistent_save({"x": torch.ones(2)}, str(folder / "twice.pt"))
    torch.load(folder / "twice.pt")


def atomic_save_copy(data, folder):
    """A copy that the disk does not take leaves the file that was there."""
    from fairseq.file_io import PathManager

    for name in ("new.pt", "old.pt"):
        (folder / name).write_text(name)

    def half(source, target, **options):
        Path(target).write_text(Path(source).read_text()[:2])
        raise OSError(28, "No space left on device")

    with mock.patch("shutil.copyfile", half), contextlib.suppress(OSError):
        PathManager.copy(str(folder / "new.pt"), str(folder / "old.pt"), overwrite=True)
    assert (folder / "old.pt").read_text() == "old.pt"


def epoch_position(data, folder):
    """Half of an epoch by one process, the other half by two."""
    first = batches()
    taken = [next(iterator) for iterator in [first.next_epoch_itr(shuffle=False)] for _ in range(4)]
    parts = [batches(num_shards=2, shard_id=shard) for shard in range(2)]
    for part in parts:
        part.load_state_dict(first.state_dict())
    left = [batch for part in parts for batch in part.next_epoch_itr(shuffle=False)]
    assert sorted(i for batch in taken + left for i in batch.tolist()) == list(range(16))


def dummy_batch_mark(data, folder):
    from fairseq.data import IdDataset, NestedDictionaryDataset

    dataset = NestedDictionaryDataset({"id": IdDataset()}, sizes=[np.ones(4)])
    iterator = iterators.EpochBatchIterator(dataset, dataset.collater, [[0, 1], [2, 3]])
    assert "dummy" in iterator.first_batch


def best_score(data, folder):
    """A new run in the process of another begins without the other's score."""
    from fairseq.dataclass.configs import CheckpointConfig

    with mock.patch.object(checkpoint_utils.save_checkpoint, "best", 0.5, create=True):
        trainer = mock.Mock(checkpoint_suffix="", **{"load_checkpoint.return_value": None})
        checkpoint_utils.load_checkpoint(CheckpointConfig(save_dir=str(folder / "new")), trainer)
        assert not hasattr(checkpoint_utils.save_checkpoint, "best")


def resume(data, folder):
    """A run that had ended makes no more updates."""
    for _ in range(2):
        state = train(data, folder / "ended", "--max-update", 2)
    assert state["optimizer_history"][-1]["num_updates"] == 2


def resume_without_optimizer_state(data, folder):
    """To come from update 2 to 3 takes one batch."""
    for updates in (2, 3):
        state = train(data, folder / "bare", "--max-update", updates, "--no-save-optimizer-state")
    assert state["extra_state"]["train_iterator"]["iterations_in_epoch"] == 3


def half_precision_state(data, folder):
    """The copy in float32 is saved."""
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.optim import FP16Optimizer
    from fairseq.optim.adam import FairseqAdamConfig
    from omegaconf import OmegaConf

    cfg = OmegaConf.structured(FairseqConfig())
    cfg.optimizer = OmegaConf.structured(FairseqAdamConfig(_name="adam"))
    cfg.optimizer.lr = [0.1]
    cfg.common.bf16 = True
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    optimizer = FP16Optimizer.build_optimizer(cfg, [parameter])
    with torch.no_grad():
        copies = optimizer.fp32_params
        (copies[next(iter(copies))] if isinstance(copies, dict) else copies[0]).fill_(1.001)
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    with zipfile.ZipFile(folder / "optimizer.pt") as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    assert any(np.float32([1.001] * 2).tobytes() in part for part in parts)


def random_crop(data, folder):
    """Threads share numpy's global state."""
    from fairseq.data import ListDataset
    from fairseq.data.shorten_dataset import RandomCropDataset

    with mock.patch("numpy.random.seed") as seed:
        RandomCropDataset(ListDataset([torch.arange(9)], [9]), 3)[0]
    assert not seed.called


def rendezvous(data, folder):
    """torch is given a time limit."""
    with (
        mock.patch("torch.distributed.init_process_group") as init,
        mock.patch("torch.distributed.get_rank", return_value=0),
        mock.patch("torch.distributed.is_initialized", return_value=False),
        mock.patch("torch.cuda.is_available", return_value=False),
    ):
        distributed_utils.distributed_init(run_of_two())
    assert "timeout" in init.call_args.kwargs


def refused_flags(data, folder):
    """A run of two processes runs where there is no GPU."""
    main = mock.Mock()
    with mock.patch("torch.cuda.device_count", return_value=0):
        distributed_utils.call_main(run_of_two(), main)
    assert main.called


def refused_flags_asynchronous(data, folder):
    """A file that was written asynchronously can be read."""
    path = str(folder / "later.pt")
    checkpoint_utils.torch_persistent_save({"x": torch.ones(2)}, path, async_write=True)
    from fairseq.file_io import PathManager

    PathManager.async_close()
    torch.load(path)


def loader_thread(data, folder):
    """Whoever took the last batch has waited for the thread that reads ahead."""

    class Source(list):
        def __iter__(self):
            yield from super().__iter__()
            time.sleep(0.3)  # as torch ends its workers

    ahead = iterators.BufferedIterator(2, Source([1, 2]))
    ahead.total = 3  # else it would stop before
    assert (next(ahead), next(ahead)) == (1, 2) and not ahead._consumer.is_alive()


PROBES = [
    data_utils_fast, all_gather_any_size, ddp_on_cpu, bf16_without_tpu, safe_globals, atomic_save,
    atomic_save_copy, epoch_position, dummy_batch_mark, best_score, resume,
    resume_without_optimizer_state, half_precision_state, random_crop, rendezvous, refused_flags,
    refused_flags_asynchronous, loader_thread,
]  # fmt: skip


# --- what they need ---


def group():
    if not torch.distributed.is_initialized():
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    return distributed_utils.get_global_group()


def batches(**shards):
    from fairseq.data import ListDataset

    dataset = ListDataset(list(torch.arange(16)), [1] * 16)
    order = [[2 * i, 2 * i + 1] for i in range(8)]
    return iterators.EpochBatchIterator(dataset, torch.stack, order, **shards)


def run_of_two():
    from fairseq.dataclass.configs import FairseqConfig
    from omegaconf import OmegaConf

    cfg = OmegaConf.structured(FairseqConfig(model=None))
    cfg.distributed_training.distributed_world_size = 2
    cfg.distributed_training.distributed_rank = 0
    cfg.distributed_training.distributed_init_method = "tcp://127.0.0.1:9"
    return cfg


def train(data, save_dir, *flags):
    """fairseq-train on its own task; what the last checkpoint holds."""
    import fairseq_cli.train

    supply_batcher()
    command = [
        "fairseq-train", data, "--cpu", "--task", "sentence_prediction", "--arch", "roberta_base",
        "--criterion", "sentence_prediction", "--encoder-layers", 1, "--encoder-embed-dim", 8,
        "--encoder-ffn-embed-dim", 8, "--encoder-attention-heads", 1, "--num-classes", 2,
        "--max-positions", 64, "--optimizer", "adam", "--lr", 0.001, "--batch-size", 8,
        "--num-workers", 0, "--disable-validation", "--no-epoch-checkpoints", "--save-dir",
        save_dir, *flags,
    ]  # fmt: skip
    with torch.serialization.safe_globals([argparse.Namespace]):
        with mock.patch.object(sys, "argv", list(map(str, command))):
            fairseq_cli.train.cli_main()
        return torch.load(save_dir / "checkpoint_last.pt")


def run_probes(data, folder):
    ends = {}
    for probe in PROBES:
        try:
            ends[probe.__name__] = probe(data, folder) or "nothing"
        except BaseException as error:
            ends[probe.__name__] = f"{type(error).__name__}: {error}"[:3000]
    assert "mixkd_plugin" not in sys.modules
    return ends


if __name__ == "__main__":
    found = run_probes(Path(sys.argv[1]), Path(sys.argv[2]))
    Path(sys.argv[2], "ends.json").write_text(json.dumps(found))
