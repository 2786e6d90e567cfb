"""Whether two runs came to the same end, to the last bit."""

from pathlib import Path

import inprocess
import torch

CLOCKS = ("TimeMeter", "StopwatchMeter")


def end(folder: Path, name: str = "checkpoint_last.pt") -> dict:
    """What a checkpoint holds, but for times and for how often the run was resumed."""
    saved = inprocess.checkpoint(folder, name)
    extra = saved["extra_state"]
    schedule = dict(saved["optimizer_history"][-1])
    schedule["lr_scheduler_state"] = dict(schedule["lr_scheduler_state"])
    schedule["lr_scheduler_state"].pop("last_epoch", None)  # reduce_lr_on_plateau's; has no effect
    return {
        "model": saved["model"],
        "optimizer": saved["last_optimizer_state"],
        "schedule": schedule,
        "position": extra["train_iterator"],
        "scores": {key: extra.get(key) for key in ("best", "val_loss")},
        "meters": {
            group: [meter for meter in meters if meter[2] not in CLOCKS]
            for group, meters in extra["metrics"].items()
        },
    }


def assert_same_end(a: Path, b: Path, name: str = "checkpoint_last.pt", but=()) -> None:
    """The checkpoints of two folders; ``but``: parts that may differ."""
    ends = [
        {part: value for part, value in end(folder, name).items() if part not in but}
        for folder in (a, b)
    ]
    assert_same(*ends, at=name)


def assert_same_weights(*folders: Path, atol: float = 0) -> None:
    """Of the last checkpoints."""
    first, *others = (inprocess.checkpoint(folder)["model"] for folder in folders)
    for other in others:
        torch.testing.assert_close(first, other, rtol=0, atol=atol)


def assert_same(a, b, at="checkpoint"):
    """Equal to the last bit, in nested containers."""
    assert type(a) is type(b), at
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), at
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            assert_same(a[key], b[key], f"{at}[{key!r}]")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{at}[{i}]")
    else:
        assert a == b, at
