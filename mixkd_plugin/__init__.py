"""MixKD, mixup knowledge distillation (Liang et al., ICLR 2021), for fairseq.

Importing registers the task ``mixkd_sentence_prediction``, the criterion ``mixkd`` and the model
``mixkd_roberta``: ``fairseq-train --user-dir mixkd_plugin ...`` does it. A package that imports
this one may be the user directory instead, and add a distance, a pairing rule, a kind of mix or
an encoder.
"""

# isort: off
from .fairseq_fixes import import_warnings  # noqa: F401  (before anything is imported that warns)
from .fairseq_fixes import apply  # noqa: F401  (its error names what to install)

# isort: on
from .criterions import mixkd  # noqa: F401
from .data.mixup_kinds import register_mixup_kind
from .data.mixup_plan import Examples, register_pairing
from .losses import register_distance
from .models import mixkd_roberta  # noqa: F401
from .models.mixup_model import MixupModel
from .tasks import mixkd_sentence_prediction  # noqa: F401

__all__ = [
    "Examples",
    "MixupModel",
    "register_distance",
    "register_mixup_kind",
    "register_pairing",
]
