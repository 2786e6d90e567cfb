"""MixKD, mixup knowledge distillation (Liang et al., ICLR 2021), for fairseq.

Importing registers the task ``mixkd_sentence_prediction``, the criterion ``mixkd`` and the model
``mixkd_roberta``: ``fairseq-train --user-dir mixkd_plugin ...`` does it. A package that imports
this one may be the user directory instead, and add a distance, a pairing rule or an encoder.
"""

from . import quiet  # isort: skip  # before anything is imported that warns
from . import compat  # isort: skip  # first: it says what to install where fairseq is missing
from . import criterion, model, safe_reading, task
from .losses import register_distance
from .mixup_model import MixupModel
from .pairing import Examples, register_pairing

__all__ = [
    "Examples",
    "MixupModel",
    "compat",
    "criterion",
    "model",
    "quiet",
    "register_distance",
    "register_pairing",
    "safe_reading",
    "task",
]
