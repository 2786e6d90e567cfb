"""`fairseq-train` without this package, but for what it cannot run without.

That is the batcher, where fairseq's is not compiled, and torch's leave to load its checkpoints.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import torch

NAME = "fairseq.data.data_utils_fast"
FIXES = Path(__file__).resolve().parents[2] / "mixkd_plugin" / "fairseq_fixes"


def supply_batcher():
    if importlib.util.find_spec(NAME) is None:
        spec = importlib.util.spec_from_file_location(NAME, FIXES / "data_utils_fast.py")
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[NAME])


def half_first(save):
    """``torch.save`` on a disk that is full at the first attempt."""
    failures = [OSError(28, "No space left on device")]

    def attempt(obj, file):
        if failures:
            file.write(b"half of a file")
            raise failures.pop()
        save(obj, file)

    return attempt


if __name__ == "__main__":
    import fairseq_cli.train

    supply_batcher()
    torch.serialization.add_safe_globals([argparse.Namespace])
    fairseq_cli.train.cli_main()
    assert "mixkd_plugin" not in sys.modules
