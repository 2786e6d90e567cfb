"""``--distill-distance cosine``: the angle between the logits, whatever their size."""

import torch.nn.functional as F

from mixkd_plugin import register_distance


@register_distance("cosine")
def cosine(student, teacher):
    """1 - cos, of two rows of logits (R, C): 0 where they point the same way, at most 2; (R,)."""
    return 1 - F.cosine_similarity(student, teacher, dim=1)
