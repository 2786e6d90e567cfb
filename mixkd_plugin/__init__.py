"""MixKD, mixup knowledge distillation (Liang et al., ICLR 2021), for fairseq.

Importing registers the task ``mixkd_sentence_prediction``, the criterion ``mixkd`` and the model
``mixkd_roberta``: ``fairseq-train --user-dir mixkd_plugin ...`` does it.
"""

from . import compat  # isort: skip  # first: it says what to install where fairseq is missing
from . import criterion, model, safe_reading, task

__all__ = ["compat", "criterion", "model", "safe_reading", "task"]
