"""`fairseq-train` without this package, but for what it cannot run without.

That is the batcher, where fairseq's is not compiled, and torch's leave to load its checkpoints.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import torch

NAME = "fairseq.data.data_utils_fast"

if __name__ == "__main__":
    import fairseq_cli.train

    if importlib.util.find_spec(NAME) is None:
        fixes = Path(__file__).resolve().parents[2] / "mixkd_plugin" / "fairseq_fixes"
        file = fixes / "data_utils_fast.py"
        spec = importlib.util.spec_from_file_location(NAME, file)
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[NAME])
    torch.serialization.add_safe_globals([argparse.Namespace])
    fairseq_cli.train.cli_main()
    assert "mixkd_plugin" not in sys.modules
