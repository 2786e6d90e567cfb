"""Applies the fixes of fairseq and registers task, criterion and model; has the public names."""

# isort: off
from .fairseq_fixes import apply  # noqa: F401  (first: its error names what to install)

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
