"""An error that names what to install if Python, torch or fairseq is too old.

Official fairseq 0.12.2 cannot be imported on Python 3.11 and later; Python's
error only names a dataclass default. Upstream: facebookresearch/fairseq#5012.
"""

import platform
import re
import sys

import torch

TORCH_VERSION = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))


def check_versions() -> None:
    """Raise ImportError if Python, torch or fairseq is too old."""
    if sys.version_info < (3, 11):
        raise ImportError(f"mixkd_plugin needs Python >= 3.11, got {platform.python_version()}.")
    if TORCH_VERSION < (2, 6):
        raise ImportError(
            f"mixkd_plugin needs torch >= 2.6, got {torch.__version__}: run `pip install -U torch`."
        )
    try:
        import fairseq.checkpoint_utils  # noqa: F401
    except (ImportError, ValueError) as error:  # ValueError: official fairseq
        raise ImportError(
            f"mixkd_plugin needs fairseq, which Python {sys.version_info[0]}."
            f"{sys.version_info[1]} cannot import here ({error}): run `pip install fairseq-fixed`."
        ) from error
