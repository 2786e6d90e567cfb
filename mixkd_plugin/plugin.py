"""Applies the fixes of fairseq and registers task, criterion and model; has the public names."""

# isort: off
from .fairseq_fixes import apply  # noqa: F401  (first: its error names what to install)

# isort: on
from .criterions import mixkd  # noqa: F401
from .data.mixup_kinds import register_mixup_kind  # noqa: F401
from .data.mixup_plan import Examples, register_pairing  # noqa: F401
from .losses import register_distance  # noqa: F401
from .models import mixkd_roberta  # noqa: F401
from .models.mixup_model import MixupModel  # noqa: F401
from .optim import torch_adamw  # noqa: F401
from .tasks import mixkd_sentence_prediction  # noqa: F401
